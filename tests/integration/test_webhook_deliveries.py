"""The log of a webhook's deliveries: written behind, bounded, and made once more."""

from __future__ import annotations

import time
from typing import Any

import pytest

from accounts.models import AuditEntry
from functions.models import Function
from invocations.models import Invocation
from nimbus_project.core.metrics import WEBHOOK_REQUESTS
from tests.integration.hooks import BODY, ECHO, SECRET, deliver, github, hook, log_of, plain, runs, send
from tests.integration.plane import Api, refusal, wait_until
from triggers import deliveries, webhooks
from triggers.models import Webhook, WebhookDelivery

pytestmark = pytest.mark.usefixtures("worker")


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
    deliveries._prune(str(Function.objects.get().pk))
    found = log_of(api)
    assert [one["status"] for one in found] == ["refused"] * 3 + ["answered"] * 4
    inputs = {row["id"]: row["input"]["body"] for row in runs(api)}
    assert [inputs[one["invocation_id"]] for one in found[3:]] == [5, 4, 3, 2]


def noted(function: Function, status: int, **changes: Any) -> deliveries.Noted:
    values: dict[str, Any] = {
        "function_id": str(function.pk), "invocation_id": None, "delivery_id": "", "http_status": status, "code": "",
        "request_id": "r", "address": "", "size_bytes": 0, "duration_ms": 0.0, "received_at": time.time(),
    }  # fmt: skip
    return deliveries.Noted(**values | changes)


def test_notes_survive_a_database_that_is_away(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    hook(api)
    function = Function.objects.get()

    def away(*_: Any, **__: Any) -> None:
        deliveries.note(noted(function, 203), "hook", "answered")
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(deliveries, "_store", away)
        for number in range(3):
            deliveries.note(noted(function, 200 + number), "hook", "answered")
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
        deliveries.note(noted(function, 200 + number % 100), "hook", "answered")
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
    deliveries.flush()
    assert [count(*name) for name in names] == [number + 1 for number in before]


def test_two_at_once_make_one_webhook(api: Api) -> None:
    from tests.integration.plane import in_threads

    api.create("hook", code=ECHO)
    made = in_threads(6, lambda n: webhooks.webhook_switch("hook", enabled=True))
    assert not [one for one in made if isinstance(one, BaseException)]
    assert Webhook.objects.count() == 1
    key = api.post("/functions/hook/webhook/enable").json()["webhook_key"]
    assert send(api, f"/webhook/{key}").status_code == 200
