"""Webhooks through the entrance, with a real worker behind it: senders with a key and a secret, and all others."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from standardwebhooks import Webhook as StandardSender

from accounts.models import AuditEntry
from functions import services, webhook_keys
from functions.models import Function
from invocations.models import Invocation
from nimbus_project.config import config
from nimbus_project.core import redis
from nimbus_project.core.metrics import WEBHOOK_REQUESTS
from tests.integration.accounts import As, make_key
from tests.integration.plane import BASE, Api, chunks, refusal, wait_until
from triggers import deliveries, webhook_directory, webhooks
from triggers.models import Webhook, WebhookDelivery

pytestmark = pytest.mark.usefixtures("worker")

ECHO = "def main(event):\n    return event\n"
SECRET = "correct-horse-battery-staple"
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ANSWERS = """
def main(event):
    what = event["body"]
    if what == "fail":
        raise RuntimeError("a secret detail")
    return what
"""
BODY = b'{ "action":"opened", "n": 1.0 }'


def hook(api: Api, name: str = "hook", code: str = ECHO, **settings: Any) -> str:
    """A function with its webhook enabled; the path of it."""
    api.create(name, code=code)
    if settings:
        answer = api.put(f"/functions/{name}/webhook", settings)
        assert answer.status_code == 200, answer.text
    return "/webhook/" + api.post(f"/functions/{name}/webhook/enable").json()["webhook_key"]


def send(api: Api, path: str, body: bytes = BODY, **headers: str) -> httpx.Response:
    """Header names with _ for -."""
    given = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return api("POST", path, content=body, headers=given)


def runs(api: Api, name: str = "hook") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/functions/{name}/invocations").json()["invocations"]
    return found


def log_of(api: Api, name: str = "hook") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/functions/{name}/webhook/deliveries").json()["deliveries"]
    return found


def digest(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


# -- the address


def test_enable_call_disable_regenerate(api: Api) -> None:
    made = api.create("hook", code=ECHO)
    assert made["webhook_enabled"] is False and "webhook_url" not in made
    on = api.post("/functions/hook/webhook/enable").json()
    assert on == {
        "id": made["id"],
        "webhook_enabled": True,
        "webhook_key": on["webhook_key"],
        "webhook_url": f"{config().public}/webhook/{on['webhook_key']}",
    }
    assert len(on["webhook_key"]) > 40
    shown = api.get("/functions/hook").json()
    assert (shown["webhook_enabled"], shown["webhook_url"]) == (True, on["webhook_url"])
    path = "/webhook/" + on["webhook_key"]
    answer = send(api, path + "?a=1&b=2")
    assert answer.status_code == 200, answer.text
    event = answer.json()
    assert (event["source"], event["method"], event["query"]) == ("webhook", "POST", {"a": "1", "b": "2"})
    assert event["body"] == {"action": "opened", "n": 1.0}
    assert base64.b64decode(event["raw_body_base64"]) == BODY
    assert send(api, path + "/").status_code == 200
    # Again is no other key; off keeps it.
    assert api.post("/functions/hook/webhook/enable").json() == on
    off = api.post("/functions/hook/webhook/disable").json()
    assert off == on | {"webhook_enabled": False}
    refusal(send(api, path), 404, "webhook_not_found")
    assert "webhook_url" not in api.get("/functions/hook").json()
    assert api.post("/functions/hook/webhook/enable").json() == on
    assert send(api, path).status_code == 200
    new = api.post("/functions/hook/webhook/regenerate").json()
    assert new["webhook_key"] != on["webhook_key"] and new["webhook_enabled"]
    refusal(send(api, path), 404, "webhook_not_found")
    assert send(api, "/webhook/" + new["webhook_key"]).status_code == 200
    assert {run["trigger_type"] for run in runs(api)} == {"webhook"}


def test_a_webhook_of_a_deleted_function_is_gone(api: Api) -> None:
    path = hook(api)
    assert send(api, path).status_code == 200
    api("DELETE", "/functions/hook")
    refusal(send(api, path), 404, "webhook_not_found")
    assert not Webhook.objects.exists()


def test_unknown_and_disabled_keys_get_the_same_answer_for_the_same_work(api: Api) -> None:
    path = hook(api)
    send(api, path)
    api.post("/functions/hook/webhook/disable")

    def said(where: str) -> dict[str, Any]:
        body = refusal(send(api, where), 404, "webhook_not_found")
        return {key: body[key] for key in ("error", "code")}

    assert said(path) == said("/webhook/whk_" + "x" * 43) == said("/webhook/x/y") == said("/webhook/%FF%00")
    counted = []
    for key in (path.removeprefix("/webhook/"), "whk_unknown"):
        with CaptureQueriesContext(connection) as queries:
            assert webhook_directory.look_up(webhook_directory.digest_of(key)) is None
        counted.append(len(queries))
        assert webhook_directory.known(webhook_directory.digest_of(key)) is None
    assert counted == [1, 1]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_say_nothing_about_a_key(api: Api, method: str) -> None:
    path = hook(api)
    answers = [api(method, one) for one in (path, "/webhook/nothing")]
    for answer in answers:
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answers[0].headers["content-length"] == answers[1].headers["content-length"]


def test_the_key_is_hard_to_come_by(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the database in clear, nor in answers to others, the log, the audit log."""
    caplog.set_level(logging.DEBUG)
    path = hook(api, signature={"scheme": "github", "secret": SECRET, "previous_secret": "another-secret"})
    key = path.removeprefix("/webhook/")
    send(api, path)
    row, function = Webhook.objects.get(), Function.objects.get()
    stored = [row.key_sha256.encode(), bytes(row.secrets_ciphertext or b""), bytes(function.webhook_ciphertext or b"")]
    for secret in (key, SECRET, "another-secret"):
        assert all(secret.encode() not in data for data in stored)
        # The tests' own client logs what it asks for.
        assert secret not in "".join(str(vars(one)) for one in caplog.records if one.name != "httpx")
        for entry in AuditEntry.objects.all():
            assert secret not in f"{entry.before} {entry.after}"
        for answer in (api.get("/functions/hook/webhook"), api.get("/functions/hook/webhook/deliveries")):
            assert "webhook_key" not in answer.json()
            assert secret not in answer.text.replace(api.get("/functions/hook").json()["webhook_url"], "")
    assert webhook_keys.key_of(function) == key
    # A ciphertext of one function is nothing at another.
    other = services.function_create(name="other", runtime="python3.11", handler="handler.main", code=ECHO)
    other.webhook_ciphertext = function.webhook_ciphertext
    assert webhook_keys.key_of(other) == ""


def test_who_may_see_and_change_it(locked_entrance: Api) -> None:
    ada, bob = As(locked_entrance, make_key("ada", "developer")), As(locked_entrance, make_key("bob", "developer"))
    eve, ivo = As(locked_entrance, make_key("eve", "viewer")), As(locked_entrance, make_key("ivo", "invoker"))
    ada.create("mine")
    ada.create("shared", shared=True)
    for name in ("mine", "shared"):
        assert ada.post(f"/functions/{name}/webhook/enable").status_code == 200
    for path in ("webhook", "webhook/deliveries"):
        refusal(bob.get(f"/functions/mine/{path}"), 404, "function_not_found")
    for action in ("enable", "disable", "regenerate"):
        refusal(bob.post(f"/functions/mine/webhook/{action}"), 404, "function_not_found")
        refusal(eve.post(f"/functions/shared/webhook/{action}"), 403, "forbidden")
    refusal(bob("PUT", "/functions/mine/webhook", json={"mode": "async"}), 404, "function_not_found")
    assert "webhook_url" in bob.get("/functions/shared").json()
    # Whoever has the address may call: it is not for those who may only read.
    assert "webhook_url" not in eve.get("/functions/shared").json()
    assert "webhook_url" not in eve.get("/functions/shared/webhook").json()
    refusal(ivo.get("/functions/shared/webhook"), 403)


def test_strangers_are_let_in_by_the_key_alone(locked_entrance: Api, worker: None) -> None:
    ada = As(locked_entrance, make_key("ada", "developer"))
    ada.create("mine")
    key = ada.post("/functions/mine/webhook/enable").json()["webhook_key"]
    path = f"{BASE}/webhook/{key}"
    for headers in ({}, {"authorization": "Bearer of-the-senders-own"}, {"x-api-key": "nmb_wrong"}):
        answer = locked_entrance("POST", path, content=b"1", headers=headers)
        assert answer.status_code == 200, answer.text
        # What the sender shows is for the function.
        assert headers.items() <= answer.json()["headers"].items()
    # The key of a webhook is none of the API.
    refusal(locked_entrance.get("/functions", headers={"x-api-key": key}), 401)


def test_a_webhook_is_exempt_from_the_guard_and_nothing_else_is(api: Api) -> None:
    path = hook(api)
    foreign = {"host": "tunnel.example", "origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert api("POST", path, content=b"{}", headers=foreign).status_code == 200
    refusal(api("POST", "/webhook", content=b"{}", headers=foreign), 403)
    refusal(api("POST", "/functions/hook/invoke", content=b"{}", headers=foreign), 403)
    refusal(api("POST", "http://localhost:8080//webhook/x", content=b"{}", headers=foreign), 403)
    refusal(api("GET", "/functions", headers={"host": "tunnel.example"}), 403, "host_not_allowed")


# -- answers


@pytest.mark.parametrize(
    ("result", "status", "body"),
    [
        ({"a": 1}, 200, b'{"a":1}'),
        (None, 200, b"null"),
        ({"statusCode": 201, "body": "made", "headers": {"X-A": "1"}}, 201, b"made"),
        ({"statusCode": 404, "body": {"no": 1}}, 404, b'{"no":1}'),
        ({"statusCode": 200, "body": "iVBORw==", "isBase64Encoded": True}, 200, b"\x89PNG"),
        ({"statusCode": 204}, 204, b""),
    ],
)
def test_the_function_answers(api: Api, result: Any, status: int, body: bytes) -> None:
    answer = send(api, hook(api, code=ANSWERS), orjson.dumps(result))
    assert answer.status_code == status
    assert answer.content.replace(b" ", b"") == body
    # Should a browser ever be made to ask: it is no page of this host.
    assert answer.headers["content-security-policy"] == "sandbox"
    assert answer.headers["x-request-id"]


def test_failures_are_told_without_their_reasons(api: Api) -> None:
    path = hook(api, code=ANSWERS)
    body = refusal(send(api, path, b'"fail"'), 502, "function_failed")
    assert "a secret detail" not in body["error"]
    refusal(send(api, path, b'{"statusCode": 99}'), 502, "bad_function_answer")
    api.post("/functions/hook/offline")
    gone = send(api, path, b"1")
    refusal(gone, 503, "function_not_active")
    assert int(gone.headers["retry-after"]) > 0
    assert "hook" not in gone.text
    assert [(one["http_status"], one["code"]) for one in log_of(api)] == [
        (503, "function_not_active"),
        (502, "bad_function_answer"),
        (502, "function_failed"),
    ]


def test_a_timeout(api: Api) -> None:
    path = hook(api, code="import time\ndef main(event):\n    time.sleep(30)\n")
    api.put("/functions/hook", {"timeout_sec": 1})
    refusal(send(api, path), 504, "function_timeout")


def test_a_version_and_an_alias_can_be_chosen(api: Api) -> None:
    path = hook(api, code="def main(event):\n    return 1\n")
    api.put("/functions/hook", {"code": "def main(event):\n    return 2\n"})
    api.post("/functions/hook/aliases", {"name": "old", "routing_config": {"weights": [{"version": 1, "weight": 100}]}})
    found = [send(api, path + query).json() for query in ("", "?version=1", "?alias=old", "?alias=latest")]
    assert found == [2, 1, 1, 2]
    refusal(send(api, path + "?alias=none"), 404, "alias_not_found")
    refusal(send(api, path + "?version=9"), 404, "version_not_found")
    refusal(send(api, path + "?version=x"), 400)
    refusal(send(api, path + "?version=1&alias=old"), 400)
    assert {(run["version"], run.get("alias_used")) for run in runs(api)} >= {(1, None), (1, "old"), (2, None)}


def test_async_is_stored_and_retried_like_any_other(api: Api) -> None:
    path = hook(api, mode="async")
    answer = send(api, path)
    assert answer.status_code == 202
    accepted = answer.json()
    assert set(accepted) == {"request_id", "invocation_id", "status"} and accepted["status"] == "accepted"

    def ended() -> dict[str, Any] | None:
        row: dict[str, Any] = api.get(f"/invocations/{accepted['invocation_id']}").json()
        return row if row["status"] == "success" else None

    row = wait_until(ended, "the run")
    assert row["trigger_type"] == "webhook"
    assert row["output"]["body"] == {"action": "opened", "n": 1.0}


# -- senders


def github(body: bytes) -> dict[str, str]:
    return {"x-hub-signature-256": "sha256=" + digest(body), "x-github-delivery": "d-1", "x-github-event": "push"}


def stripe(body: bytes) -> dict[str, str]:
    at = int(time.time())
    return {"stripe-signature": f"t={at},v1={'0' * 64},v1={digest(b'%d.%b' % (at, body))}"}


def standard(body: bytes, msg_id: str = "") -> dict[str, str]:
    at, msg_id = datetime.now(UTC), msg_id or f"msg_{len(body)}"
    made = StandardSender(STANDARD_SECRET).sign(msg_id, at, body.decode())
    return {"webhook-id": msg_id, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": made}


def plain(body: bytes) -> dict[str, str]:
    return {"x-signature": digest(body)}


Sender = Callable[[bytes], dict[str, str]]
SENDERS: list[tuple[str, Sender]] = [
    ("github", github),
    ("stripe", stripe),
    ("standard-webhooks", standard),
    ("hmac-sha256", plain),
]
EACH = pytest.mark.parametrize(("scheme", "sender"), SENDERS, ids=[scheme for scheme, _ in SENDERS])


def secret_for(scheme: str) -> str:
    return STANDARD_SECRET if scheme == "standard-webhooks" else SECRET


def deliver(api: Api, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return api("POST", path, content=body, headers={"content-type": "application/json"} | headers)


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
    gate = api._application._outside._gate
    monkeypatch.setattr(gate.replays, "_script", away.__get__(gate.replays))
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


# -- bounds


def test_a_huge_body_is_refused_before_it_is_read(api: Api) -> None:
    path = hook(api, signature={"scheme": "github", "secret": SECRET})
    limit, taken = config().max_event_bytes, 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        async for chunk in chunks(b"x" * (limit * 4)):
            taken += len(chunk)
            yield chunk

    refusal(api("POST", path, content=endless()), 413, "too_large")
    assert taken < limit + 1024 * 1024
    # One that says how long it is: nothing of it.
    taken = 0
    refusal(api("POST", path, content=endless(), headers={"content-length": str(limit * 4)}), 413, "too_large")
    assert taken == 0
    assert runs(api) == []
    assert {one["code"] for one in log_of(api)} == {"too_large"}


def test_an_event_that_grows_too_large_is_refused(api: Api) -> None:
    """Base64 and escapes make it longer than the body was."""
    path = hook(api)
    body = b"\x01" * (config().max_event_bytes // 2)
    refusal(api("POST", path, content=body, headers={"content-type": "text/plain"}), 413, "too_large")


def test_only_listed_addresses_may_call(api: Api) -> None:
    path = hook(api, ip_allow=["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"])
    refusal(send(api, path), 403, "address_not_allowed")
    # Without trusted proxies nobody is believed who says where the request came from.
    refusal(send(api, path, x_forwarded_for="10.1.2.3"), 403, "address_not_allowed")
    assert runs(api) == []
    api.put("/functions/hook/webhook", {"ip_allow": ["127.0.0.0/8"]})
    assert send(api, path).status_code == 200
    api.put("/functions/hook/webhook", {"ip_allow": []})
    assert send(api, path).status_code == 200


def test_a_rate_limit_of_its_own(api: Api) -> None:
    path = hook(api, rate_limit_per_min=3)
    answers = [send(api, path) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 2
    refusal(answers[-1], 429, "rate_limited")
    assert 0 < int(answers[-1].headers["retry-after"]) <= 61
    assert answers[-1].headers["x-ratelimit-limit"] == "3"
    assert len(runs(api)) == 3


def test_a_change_is_known_elsewhere_at_once(api: Api) -> None:
    """By the message alone: as if another process had made it."""
    path = hook(api)
    assert send(api, path).status_code == 200
    function = Function.objects.get()
    Function.objects.update(webhook_enabled=False)
    redis.publish(redis.CHANGES, str(function.pk))
    wait_until(lambda: send(api, path).status_code == 404, "the change", within_sec=2.0)


# -- settings


def test_settings_are_kept_and_shown(api: Api) -> None:
    made = api.create("hook", code=ECHO)
    assert api.get("/functions/hook/webhook").json() == {
        "id": made["id"],
        "webhook_enabled": False,
        "signature": {"scheme": "none", "has_secret": False, "has_previous_secret": False, "tolerance_sec": 0},
        "ip_allow": [],
        "rate_limit_per_min": 0,
        "mode": "sync",
    }
    settings = {
        "signature": {"scheme": "hmac-sha256", "secret": SECRET, "header": "X-Gitea-Signature", "tolerance_sec": 9},
        "ip_allow": ["10.1.2.3/8", "::1"],
        "rate_limit_per_min": 60,
        "mode": "async",
    }
    shown = api.put("/functions/hook/webhook", settings).json()
    assert shown == {
        "id": made["id"],
        "webhook_enabled": False,
        "signature": {
            "scheme": "hmac-sha256",
            "has_secret": True,
            "has_previous_secret": False,
            "header": "x-gitea-signature",
            "tolerance_sec": 9,
        },
        "ip_allow": ["10.0.0.0/8", "::1/128"],
        "rate_limit_per_min": 60,
        "mode": "async",
    }
    # What was shown can be sent back; what is absent stays.
    assert api.put("/functions/hook/webhook", shown).json() == shown
    assert api.put("/functions/hook/webhook", {}).json() == shown
    assert api.get("/functions/hook/webhook").json() == shown
    # Another scheme begins anew.
    other = api.put("/functions/hook/webhook", {"signature": {"scheme": "github", "secret": "x"}}).json()
    assert other["signature"] == {
        "scheme": "github",
        "has_secret": True,
        "has_previous_secret": False,
        "tolerance_sec": 300,
    }


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"signature": {"scheme": "github"}}, "signature.secret"),
        ({"signature": {"scheme": "github", "secret": ""}}, "signature.secret"),
        ({"signature": {"scheme": "github", "secret": 7}}, "signature.secret"),
        ({"signature": {"scheme": "md5", "secret": "x"}}, "signature.scheme"),
        ({"signature": {"secret": "x"}}, "signature.scheme"),
        ({"signature": {"scheme": "none", "secret": "x"}}, "signature.secret"),
        ({"signature": {"scheme": "none", "header": "X-A"}}, "signature.header"),
        ({"signature": {"scheme": "standard-webhooks", "secret": "whsec_?"}}, "signature.secret"),
        (
            {"signature": {"scheme": "standard-webhooks", "secret": "AAAA", "previous_secret": "?"}},
            "signature.previous_secret",
        ),
        ({"signature": {"scheme": "standard-webhooks", "secret": "AAAA", "header": "X"}}, "signature.header"),
        ({"signature": {"scheme": "stripe", "secret": "x", "tolerance_sec": 0}}, "signature.tolerance_sec"),
        ({"signature": {"scheme": "stripe", "secret": "x", "tolerance_sec": -1}}, "signature.tolerance_sec"),
        ({"signature": {"scheme": "stripe", "secret": "x", "tolerance_sec": 86_401}}, "signature.tolerance_sec"),
        ({"signature": {"scheme": "github", "secret": "x", "header": "X A"}}, "signature.header"),
        ({"signature": {"scheme": "github", "secret": "x", "more": 1}}, "signature.more"),
        ({"signature": "github"}, "signature"),
        ({"ip_allow": ["10.0.0.0/33"]}, "ip_allow"),
        ({"ip_allow": ["example.org"]}, "ip_allow"),
        ({"ip_allow": [1]}, "ip_allow.0"),
        ({"ip_allow": "10.0.0.0/8"}, "ip_allow"),
        ({"rate_limit_per_min": -1}, "rate_limit_per_min"),
        ({"rate_limit_per_min": "many"}, "rate_limit_per_min"),
        ({"mode": "later"}, "mode"),
        ({"secret": "x"}, "secret"),
    ],
)
def test_bad_settings_change_nothing(api: Api, settings: dict[str, Any], field: str) -> None:
    hook(api)
    before = api.get("/functions/hook/webhook").json()
    body = refusal(api.put("/functions/hook/webhook", settings), 400)
    assert field in body["details"], body
    assert api.get("/functions/hook/webhook").json() == before


def test_every_change_is_in_the_audit_log(api: Api) -> None:
    hook(api, ip_allow=["10.0.0.0/8"], signature={"scheme": "github", "secret": SECRET})
    api.put("/functions/hook/webhook", {"signature": {"scheme": "github", "secret": "another"}})
    api.post("/functions/hook/webhook/regenerate")
    api.post("/functions/hook/webhook/disable")
    entries = AuditEntry.objects.filter(object_type="webhook").order_by("id")
    actions = [entry.action for entry in entries]
    assert actions == ["webhook.update", "webhook.enable", "webhook.update", "webhook.regenerate", "webhook.disable"]
    first = entries[0]
    assert first.after is not None and first.after["ip_allow"] == ["10.0.0.0/8"]
    assert {entry.object_name for entry in entries} == {"hook"}


def test_keys_and_secrets_are_rotated(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from io import StringIO
    from pathlib import Path

    from cryptography.fernet import Fernet
    from django.core.management import call_command

    from nimbus_project.core import crypto

    path = hook(api, signature={"scheme": "github", "secret": SECRET})
    new = Fernet.generate_key().decode()
    monkeypatch.setattr(crypto, "_keyring", crypto.Keyring(f"{new},{config().secrets_key}", Path("/nonexistent")))
    output = StringIO()
    call_command("rotatesecrets", stdout=output)
    assert "1 secrets" in output.getvalue()
    monkeypatch.setattr(crypto, "_keyring", crypto.Keyring(new, Path("/nonexistent")))
    assert "/webhook/" + webhook_keys.key_of(Function.objects.get()) == path
    assert webhook_directory.secrets_of(Webhook.objects.get()) == [SECRET]


# -- the log of deliveries


def test_deliveries_are_logged(api: Api) -> None:
    path = hook(api, signature={"scheme": "github", "secret": SECRET})
    deliver(api, path, BODY, github(BODY))
    deliver(api, path, BODY, {})
    answer = api.get("/functions/hook/webhook/deliveries").json()
    assert (answer["total"], answer["offset"], answer["limit"]) == (2, 0, 20)
    refused, called = answer["deliveries"]
    assert (refused["status"], refused["http_status"], refused["code"]) == ("refused", 401, "no_signature")
    assert (called["status"], called["http_status"], called["delivery_id"]) == ("answered", 200, "d-1")
    assert called["size_bytes"] == len(BODY) and called["duration_ms"] > 0 and "code" not in called
    assert called["invocation_id"] == runs(api)[0]["id"]
    assert called["request_id"] == runs(api)[0]["request_id"]


def test_a_delivery_can_be_made_again(api: Api) -> None:
    path = hook(api, signature={"scheme": "github", "secret": SECRET})
    deliver(api, path, BODY, github(BODY))
    (first,) = log_of(api)
    again = api.post(f"/functions/hook/webhook/deliveries/{first['id']}/redeliver")
    assert again.status_code == 202, again.text
    made = again.json()

    def ended() -> dict[str, Any] | None:
        row: dict[str, Any] = api.get(f"/invocations/{made['invocation_id']}").json()
        return row if row["status"] == "success" else None

    row = wait_until(ended, "the run")
    assert (row["trigger_type"], row["input"]) == ("webhook", runs(api)[-1]["input"])
    newest = log_of(api)[0]
    assert newest["id"] == made["delivery_id"]
    assert (newest["redelivery_of"], newest["delivery_id"], newest["status"]) == (first["id"], "d-1", "accepted")
    assert AuditEntry.objects.filter(action="webhook.redeliver").exists()


def test_what_cannot_be_made_again(api: Api) -> None:
    path = hook(api, signature={"scheme": "github", "secret": SECRET})
    deliver(api, path, BODY, {})
    deliver(api, path, BODY, github(BODY))
    called, refused = log_of(api)
    refusal(api.post(f"/functions/hook/webhook/deliveries/{refused['id']}/redeliver"), 409, "delivery_not_kept")
    runs(api)
    Invocation.objects.all().delete()
    refusal(api.post(f"/functions/hook/webhook/deliveries/{called['id']}/redeliver"), 409, "delivery_not_kept")
    for reference in ("nothing", "0192f0c1-7c1e-7d5a-9f3b-0a1b2c3d4e5f"):
        refusal(api.post(f"/functions/hook/webhook/deliveries/{reference}/redeliver"), 404, "delivery_not_found")
    api.create("other", code=ECHO)
    refusal(api.post(f"/functions/other/webhook/deliveries/{called['id']}/redeliver"), 404, "delivery_not_found")


def test_the_log_is_bounded_and_a_flood_pushes_out_no_delivery(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "KEPT", 4)
    monkeypatch.setattr(deliveries, "KEPT_REFUSED", 3)
    path = hook(api, signature={"scheme": "hmac-sha256", "secret": SECRET})
    for number in range(6):
        body = b"%d" % number
        assert deliver(api, path, body, plain(body)).status_code == 200
    for _ in range(9):
        deliver(api, path, b"x", {})
    # As many as may be: what is written behind may come in several parts.
    log_of(api)
    deliveries._prune(Function.objects.get().pk)
    found = log_of(api)
    assert [one["status"] for one in found] == ["refused"] * 3 + ["answered"] * 4
    inputs = {row["id"]: row["input"]["body"] for row in runs(api)}
    assert [inputs[one["invocation_id"]] for one in found[3:]] == [5, 4, 3, 2]


def noted(function: Function, status: int, **changes: Any) -> deliveries.Noted:
    values: dict[str, Any] = {
        "function_id": function.pk, "invocation_id": None, "delivery_id": "", "http_status": status, "code": "",
        "request_id": "r", "address": "", "size_bytes": 0, "duration_ms": 0.0, "received_at": datetime.now(UTC),
    }  # fmt: skip
    return deliveries.Noted(**values | changes)


def test_notes_survive_a_database_that_is_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    hook(api)
    function = Function.objects.get()

    def away(*_: Any, **__: Any) -> None:
        deliveries.note(noted(function, 203))
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(WebhookDelivery.objects, "bulk_create", away)
        for number in range(3):
            deliveries.note(noted(function, 200 + number))
        with pytest.raises(OperationalError):
            deliveries.flush()
    found = [one["http_status"] for one in log_of(api)][::-1]
    # What came meanwhile is there too, as often as it was tried.
    assert [status for status in found if status < 203] == [200, 201, 202]
    assert 203 in found


def test_notes_are_bounded_in_memory_too(api: Api) -> None:
    hook(api)
    function = Function.objects.get()
    for number in range(deliveries.KEPT_REFUSED + 50):
        deliveries.note(noted(function, 200 + number % 100))
    deliveries.flush()
    assert WebhookDelivery.objects.count() <= deliveries.KEPT_REFUSED


def test_requests_are_counted(api: Api) -> None:
    def count(function: str, outcome: str) -> float:
        return WEBHOOK_REQUESTS.labels(function, outcome)._value.get()

    names = [("hook", "answered"), ("hook", "signature_refused"), ("", "webhook_not_found")]
    before = [count(*name) for name in names]
    path = hook(api, signature={"scheme": "hmac-sha256", "secret": SECRET})
    deliver(api, path, BODY, plain(BODY))
    deliver(api, path, BODY, {})
    deliver(api, "/webhook/unknown", BODY, {})
    assert [count(*name) for name in names] == [number + 1 for number in before]


def test_two_at_once_make_one_webhook(api: Api) -> None:
    from tests.integration.plane import in_threads

    api.create("hook", code=ECHO)
    made = in_threads(6, lambda n: webhooks.webhook_switch("hook", enabled=True))
    assert not [one for one in made if isinstance(one, BaseException)]
    assert Webhook.objects.count() == 1
    key = api.post("/functions/hook/webhook/enable").json()["webhook_key"]
    assert send(api, f"/webhook/{key}").status_code == 200
