"""Senders that sign, each by its scheme, and all others: who is let in, once each."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.hooks import (
    ANSWERS,
    BODY,
    EACH,
    SECRET,
    SENDERS,
    STANDARD_SECRET,
    Sender,
    deliver,
    digest,
    github,
    hook,
    log_of,
    plain,
    runs,
    secret_for,
    send,
    standard,
)
from tests.integration.plane import Api, refusal
from triggers import webhook_directory
from triggers.models import Webhook

pytestmark = pytest.mark.usefixtures("worker")


@EACH
def test_a_sender_works_with_its_secret_alone(api: Api, scheme: str, sender: Sender) -> None:
    path = hook(api, signature={"scheme": scheme, "secret": secret_for(scheme)})
    answer = deliver(api, path, BODY, sender(BODY))
    assert answer.status_code == 200, answer.text
    # Nobody needs the bytes where they were checked.
    assert answer.json()["body"]["action"] == "opened" and "raw_body_base64" not in answer.json()
    odd = '{"é": "\\u0000"}\r\n '.encode()
    assert deliver(api, path, odd, sender(odd)).json()["body"] == {"é": "\0"}


@EACH
def test_whoever_has_no_secret_calls_nothing(api: Api, scheme: str, sender: Sender) -> None:
    path = hook(api, signature={"scheme": scheme, "secret": secret_for(scheme)})
    right = sender(BODY)
    wrong = [deliver(api, path, BODY, {})]
    wrong.append(deliver(api, path, BODY[:-1] + b"x", right))
    wrong.append(deliver(api, path, BODY + b" ", right))
    for name in right.keys() - {"x-github-delivery", "x-github-event"}:
        wrong.append(deliver(api, path, BODY, {k: v for k, v in right.items() if k != name}))
        flipped = right[name][:-3] + ("0" if right[name][-3] != "0" else "1") + right[name][-2:]
        wrong.append(deliver(api, path, BODY, right | {name: flipped}))
    for answer in wrong:
        refusal(answer, 401, "signature_refused")
        assert answer.headers["www-authenticate"] == "Webhook-Signature"
    assert len({answer.json()["error"] for answer in wrong}) == 1
    assert runs(api) == []
    logged = log_of(api)
    assert len(logged) == len(wrong)
    assert {one["status"] for one in logged} == {"refused"}
    assert logged[-1]["code"] == "no_signature"
    assert all("invocation_id" not in one for one in logged)


@pytest.mark.parametrize(("scheme", "sender"), SENDERS[1:3])
def test_an_old_one_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch, scheme: str, sender: Sender) -> None:
    path = hook(api, signature={"scheme": scheme, "secret": secret_for(scheme), "tolerance_sec": 10})
    headers = sender(BODY)
    now = time.time()
    monkeypatch.setattr("triggers.hot.time.time", lambda: now + 12)
    refusal(deliver(api, path, BODY, headers), 401, "signature_refused")
    monkeypatch.setattr("triggers.hot.time.time", lambda: now - 12)
    refusal(deliver(api, path, BODY, headers), 401, "signature_refused")
    assert runs(api) == []
    assert [one["code"] for one in log_of(api)] == ["in_the_future", "too_old"]


@EACH
def test_a_replay_is_refused(api: Api, scheme: str, sender: Sender) -> None:
    path = hook(api, signature={"scheme": scheme, "secret": secret_for(scheme), "tolerance_sec": 60})
    headers = sender(BODY)
    assert deliver(api, path, BODY, headers).status_code == 200
    refusal(deliver(api, path, BODY, headers), 401, "delivery_replayed")
    # Nor with what is not signed made to look new.
    refusal(deliver(api, path, BODY, headers | {"x-github-delivery": "d-2", "x-request-id": "r-2"}), 401)
    assert len(runs(api)) == 1
    assert log_of(api)[0]["code"] == "delivery_replayed"


def test_of_many_copies_at_once_one_is_taken(api: Api) -> None:
    path = hook(api, signature={"scheme": "github", "secret": SECRET})
    headers = github(BODY)
    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(lambda _: deliver(api, path, BODY, headers).status_code, range(8)))
    assert statuses == [200] + [401] * 7
    assert len(runs(api)) == 1


def test_a_delivery_that_failed_may_come_again(api: Api) -> None:
    path = hook(api, code=ANSWERS, signature={"scheme": "standard-webhooks", "secret": STANDARD_SECRET})
    body = b'"fail"'
    for _ in range(2):
        refusal(deliver(api, path, body, standard(body)), 502, "function_failed")
    refused = b'{"statusCode": 422}'
    for _ in range(2):
        assert deliver(api, path, refused, standard(refused)).status_code == 422
    # Another body under the same id, now that it succeeds; then never again while the window lasts.
    assert deliver(api, path, b"1", standard(b"1")).status_code == 200
    refusal(deliver(api, path, b"2", standard(b"2")), 401, "delivery_replayed")


def test_plain_equal_bodies_may_be_two_events(api: Api) -> None:
    """A plain HMAC says neither when nor which."""
    path = hook(api, signature={"scheme": "hmac-sha256", "secret": SECRET})
    assert [deliver(api, path, BODY, plain(BODY)).status_code for _ in range(2)] == [200, 200]


def test_without_redis_no_replay_is_let_in(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from redis.exceptions import ConnectionError as RedisAway

    from triggers.replays import Replays

    async def away(self: Replays, *_: Any, **__: Any) -> bool:
        raise RedisAway("away")

    path = hook(api, signature={"scheme": "github", "secret": SECRET})
    gate = api._application._outside.gate
    monkeypatch.setattr(gate.replays, "_round_trip", away.__get__(gate.replays))
    answer = deliver(api, path, BODY, github(BODY))
    refusal(answer, 503, "unavailable")
    assert runs(api) == []


def test_secrets_can_be_changed_over(api: Api) -> None:
    old, new = "old-secret", "new-secret"
    path = hook(api, signature={"scheme": "hmac-sha256", "secret": old})

    def works(secret: str) -> bool:
        return deliver(api, path, BODY, {"x-signature": digest(BODY, secret)}).status_code == 200

    assert (works(old), works(new)) == (True, False)
    both = {"scheme": "hmac-sha256", "secret": new, "previous_secret": old}
    shown = api.put("/functions/hook/webhook", {"signature": both}).json()["signature"]
    assert (shown["has_secret"], shown["has_previous_secret"]) == (True, True)
    assert (works(old), works(new)) == (True, True)
    # Another setting leaves both; an empty one before ends it.
    api.put("/functions/hook/webhook", {"signature": {"scheme": "hmac-sha256", "tolerance_sec": 0}})
    assert (works(old), works(new)) == (True, True)
    api.put("/functions/hook/webhook", {"signature": {"scheme": "hmac-sha256", "previous_secret": ""}})
    assert (works(old), works(new)) == (False, True)
    api.put("/functions/hook/webhook", {"signature": {"scheme": "none"}})
    assert send(api, path).status_code == 200
    assert Webhook.objects.get().secrets_ciphertext is None


def test_a_secret_that_no_key_opens_lets_nobody_in(api: Api) -> None:
    path = hook(api, signature={"scheme": "github", "secret": SECRET})
    Webhook.objects.update(secrets_ciphertext=b"garbage")
    webhook_directory._entries.clear()
    refusal(deliver(api, path, BODY, github(BODY)), 503, "secret_unreadable")
    refusal(api.put("/functions/hook/webhook", {"signature": {"scheme": "github", "tolerance_sec": 5}}), 400)
    api.put("/functions/hook/webhook", {"signature": {"scheme": "github", "secret": SECRET}})
    assert deliver(api, path, BODY, github(BODY)).status_code == 200
