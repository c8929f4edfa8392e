"""Webhooks through the entrance, with a real worker behind it: the address, the answers, the bounds."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEntry
from functions import services, webhook_keys
from functions.models import Function
from invocations.models import Invocation
from nimbus_project.config import config
from nimbus_project.core import redis
from tests.integration.accounts import As, make_key
from tests.integration.hooks import ANSWERS, BODY, ECHO, SECRET, hook, log_of, runs, send
from tests.integration.plane import BASE, Api, chunks, refusal, wait_until
from triggers import webhook_directory
from triggers.models import Webhook

pytestmark = pytest.mark.usefixtures("worker")


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
    for written in ("127.0.0.0/8", "::ffff:127.0.0.1", "::ffff:127.0.0.0/104"):
        api.put("/functions/hook/webhook", {"ip_allow": [written]})
        assert send(api, path).status_code == 200, written
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


def test_how_far_along_a_chain_it_says_it_is(api: Api) -> None:
    """A destination's URL may be a webhook of this platform."""
    path = hook(api, mode="async")
    for told in ("3", "-1", "99999", "x"):
        assert send(api, path, ce_nimbushops=told).status_code == 202
    assert sorted(Invocation.objects.values_list("hops", flat=True)) == [0, 0, 3, 99]
