"""The end of a queued run is told to its function's destination: decided once, kept with the end, delivered."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import DatabaseError
from django.utils import timezone

from functions import directory, secrets, services
from invocations import lifecycle
from invocations.models import DeadLetter, Invocation, Report
from invocations.outcome import ErrorType, Fault, LogLine, Outcome, Status
from invocations.reports import delivery, outbox
from invocations.reports.delivery import HELD, MAX_ATTEMPTS
from invocations.services import MAX_HOPS
from nimbus_project.config import config
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, in_threads, make_function, make_row, refusal
from tests.receiver import Receiver, receiver

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
GOOD = Outcome(status=Status.SUCCESS, output=b'{"done": true}')
BAD = Outcome(status=Status.FAILED, fault=Fault.FUNCTION, error="no", error_type="ValueError")


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("NIMBUS_OUTGOING_ALLOW", "127.0.0.1")
    config.cache_clear()
    with receiver() as there:
        yield there
    monkeypatch.undo()
    config.cache_clear()


def ended(function: Any, outcome: Outcome = GOOD, **values: Any) -> Invocation:
    """A run of this function that has come to this."""
    given = {"max_attempts": 1, "function_name": function.name, "owner_id": function.owner_id} | values
    row: Invocation = make_row(NOW, function_id=function.pk, **given)
    held = lifecycle.claim(function.pk, "w", NOW, 10)
    assert held is not None and held.pk == row.pk
    assert lifecycle.finish(held, outcome, None, NOW, 0.0)
    return row


def tried(function_id: UUID, now: datetime = NOW) -> Report:
    """The function's report after one try."""
    report = delivery.take(function_id, now)
    assert report is not None
    delivery.deliver(report, now)
    return Report.objects.get(pk=report.pk)


# -- decided


def test_success_and_failure_go_each_to_its_own() -> None:
    make_function("notify")
    function = make_function("f", on_success={"function": "notify"}, on_failure={"event": {"type": "failed"}})
    good, bad = ended(function), ended(function, BAD)
    reports = {report.invocation_id: report for report in Report.objects.all()}
    assert (reports[good.pk].destination, reports[good.pk].gave_up) == ({"function": "notify"}, "")
    assert (reports[bad.pk].destination, reports[bad.pk].gave_up) == (
        {"event": {"type": "failed"}},
        "retries_exhausted",
    )
    assert DeadLetter.objects.get().invocation_id == bad.pk, "a dead letter all the same"
    assert {report.status for report in reports.values()} == {"pending"}


def test_only_the_end_is_told() -> None:
    function = make_function("f", on_failure={"event": {"type": "failed"}})
    ended(function, BAD, max_attempts=2)
    assert not Report.objects.exists()
    row = make_row(NOW, function_id=function.pk)
    assert lifecycle.cancel(row.pk, NOW)
    ended(function, GOOD)
    assert not Report.objects.exists()


def test_with_what_was_printed_and_by_whoever_ends_it() -> None:
    function = make_function("f", on_success={"event": {"type": "ok"}}, on_failure={"event": {"type": "failed"}})
    ended(function, Outcome(status=Status.SUCCESS, output=b"1", logs=(LogLine(1, "stdout", "x"),)))
    row = make_row(NOW, function_id=function.pk, workers_lost=5)
    assert lifecycle.claim(function.pk, "w", NOW, 10)
    assert lifecycle.expire_leases(NOW + timedelta(seconds=11)) == 1
    old = make_row(NOW, function_id=function.pk, expires_at=NOW - timedelta(seconds=1))
    held = lifecycle.claim(function.pk, "w", NOW, 10)
    assert held is not None and lifecycle.expire_event(held, NOW)
    reports = {report.invocation_id: report.gave_up for report in Report.objects.all()}
    assert (len(reports), reports[row.pk], reports[old.pk]) == (3, "workers_lost", "event_age_exceeded")


def test_neither_is_there_without_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise DatabaseError("away")

    function = make_function("f", on_success={"event": {"type": "ok"}})
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "add", away)
        with pytest.raises(DatabaseError):
            ended(function)
    assert Invocation.objects.get().status == "running"


def test_who_lost_the_run_tells_nothing() -> None:
    function = make_function("f", on_success={"event": {"type": "ok"}})
    make_row(NOW, function_id=function.pk)
    held = lifecycle.claim(function.pk, "w", NOW, 10)
    assert held is not None
    assert lifecycle.expire_leases(NOW + timedelta(seconds=11)) == 1
    assert not lifecycle.finish(held, GOOD, None, NOW, 0.0)
    assert not Report.objects.exists()


def test_a_change_of_destinations_is_heard_at_once() -> None:
    function = make_function("f")
    ended(function)
    services.function_update("f", on_success={"event": {"type": "ok"}})
    ended(function)
    services.function_update("f", on_success={})
    ended(function)
    assert Report.objects.count() == 1


# -- to a function


def test_a_function_is_called_once_with_the_record() -> None:
    notify = make_function("notify", max_retries=4)
    function = make_function("f", on_success={"function": "notify"})
    row = ended(function, input=b'{"n": 1}', request_id="the-request", hops=2)
    report = tried(function.pk)
    assert (report.status, report.attempt, report.error) == ("delivered", 1, "")
    called = Invocation.objects.get(function_id=notify.pk)
    assert (called.pk, called.status, called.hops) == (report.result_id, "pending", 3)
    assert (called.request_id, called.max_attempts, called.trigger_type) == ("the-request", 5, "async")
    record = json.loads(bytes(called.input))
    assert (record["requestPayload"], record["responsePayload"]) == ({"n": 1}, {"done": True})
    assert record["requestContext"]["invocationId"] == str(row.pk)
    assert delivery.take(function.pk, NOW + timedelta(days=1)) is None


def test_of_many_who_deliver_at_once_one_calls() -> None:
    notify = make_function("notify")
    function = make_function("f", on_success={"function": "notify"})
    ended(function)
    report = delivery.take(function.pk, NOW)
    assert report is not None
    in_threads(8, lambda _: delivery.deliver(report, NOW))
    assert Invocation.objects.filter(function_id=notify.pk).count() == 1


def test_a_try_that_was_too_slow_changes_nothing() -> None:
    notify = make_function("notify")
    function = make_function("f", on_success={"function": "notify"})
    ended(function)
    slow = delivery.take(function.pk, NOW)
    assert slow is not None
    assert delivery.take(function.pk, NOW + HELD - timedelta(seconds=1)) is None
    tried(function.pk, NOW + HELD)
    delivery.deliver(slow, NOW + HELD)
    assert Invocation.objects.filter(function_id=notify.pk).count() == 1


@pytest.mark.parametrize(
    ("reference", "version", "alias"), [("notify:prod", 1, "prod"), ("notify:1", 1, ""), ("notify", 2, "")]
)
def test_through_an_alias_or_as_a_version(api: Api, reference: str, version: int, alias: str) -> None:
    api.create("notify")
    api.put("/functions/notify", {"code": "def main(event):\n    return 2\n"})
    weights = {"routing_config": {"weights": [{"version": 1, "weight": 100}]}}
    assert api.post("/functions/notify/aliases", {"name": "prod", **weights}).status_code == 201
    ended(make_function("f", on_success={"function": reference}))
    report = Report.objects.get()
    tried(report.function_id)
    called = Invocation.objects.get(function_name="notify")
    assert (called.version, called.alias_used) == (version, alias)


@pytest.mark.parametrize("reference", ["gone", "notify:gone", "notify:9", "off"])
def test_one_that_can_not_be_called_is_tried_again_and_kept(reference: str) -> None:
    make_function("notify")
    make_function("off")
    services.function_set_online("off", online=False)
    function = make_function("f")
    services.Function.objects.filter(pk=function.pk).update(on_success={"function": reference})
    directory.forget_all()
    ended(function)
    report, now, waits = tried(function.pk), NOW, []
    while report.status == "pending":
        assert report.error and report.next_attempt_at is not None
        waits.append((report.next_attempt_at - now).total_seconds())
        now = report.next_attempt_at
        report = tried(function.pk, now)
    assert (report.status, report.attempt, report.next_attempt_at) == ("failed", MAX_ATTEMPTS, None)
    assert all(wait <= 2**number for number, wait in enumerate(waits)) and 1500 < sum(waits) < 3600
    assert not Invocation.objects.filter(status="pending").exists()


def test_what_was_not_accepted_is_not_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    make_function("notify")
    function = make_function("f", on_success={"function": "notify"})
    ended(function)
    report = delivery.take(function.pk, NOW)
    assert report is not None

    def away(*_: Any) -> None:
        raise DatabaseError("away")

    with monkeypatch.context() as patch:
        patch.setattr(delivery, "submit", away)
        with pytest.raises(DatabaseError):
            delivery.deliver(report, NOW)
    assert Report.objects.get().status == "pending"
    assert tried(function.pk, NOW + HELD).status == "delivered"


def test_a_chain_that_goes_round_comes_to_an_end() -> None:
    """A function that reports to itself."""
    function = make_function("f")
    services.function_update("f", on_success={"function": "f"})
    ended(function)
    for _ in range(MAX_HOPS):
        assert tried(function.pk, timezone.now()).status == "delivered"
        held = lifecycle.claim(function.pk, "w", timezone.now(), 10)
        assert held is not None and lifecycle.finish(held, GOOD, None, timezone.now(), 0.0)
    report = tried(function.pk, timezone.now())
    assert report.status == "failed" and "going round" in report.error
    assert Invocation.objects.count() == MAX_HOPS + 1
    assert Invocation.objects.filter(status="success").count() == MAX_HOPS + 1


# -- to a URL


def test_a_url_gets_the_record_under_the_reports_id(loopback: Receiver) -> None:
    function = make_function("f", on_failure={"url": loopback.url + "/hook"})
    row = ended(function, BAD, input=b'{"n": 1}')
    report = tried(function.pk)
    assert report.status == "delivered" and report.delivered_at == NOW
    (got,) = loopback.received
    assert (got.method, got.path) == ("POST", "/hook")
    assert (got.headers["content-type"], got.headers["webhook-id"]) == ("application/json", str(report.pk))
    assert "webhook-signature" not in got.headers
    record = json.loads(got.body)
    assert record["requestContext"]["invocationId"] == str(row.pk)
    assert record["requestContext"]["condition"] == "RetriesExhausted"
    assert record["responsePayload"] == {"errorMessage": "no", "errorType": "ValueError", "stackTrace": []}


def test_a_chain_that_goes_round_by_way_of_a_url_comes_to_an_end(api: Api, loopback: Receiver) -> None:
    """Somebody calls the function again with what they were sent."""
    function = make_function("f", on_success={"url": loopback.url})
    ended(function)
    for number in range(MAX_HOPS):
        assert tried(function.pk, timezone.now()).status == "delivered"
        got = loopback.received[-1]
        assert got.headers["ce-nimbushops"] == str(number + 1)
        headers = {"ce-nimbushops": got.headers["ce-nimbushops"]}
        assert api.post("/functions/f/async", json.loads(got.body), headers=headers).status_code == 202
        held = lifecycle.claim(function.pk, "w", timezone.now(), 10)
        assert held is not None and lifecycle.finish(held, GOOD, None, timezone.now(), 0.0)
    report = tried(function.pk, timezone.now())
    assert report.status == "failed" and "going round" in report.error
    assert len(loopback.received) == MAX_HOPS


def test_signed_with_a_secret_of_the_function(loopback: Receiver) -> None:
    key = base64.b64encode(b"0123456789abcdef01234567").decode()
    function = make_function("f", on_success={"url": loopback.url, "signing_secret": "HOOK"})
    ended(function)
    report = tried(function.pk)
    assert report.status == "pending" and "no secret HOOK" in report.error
    secrets.secret_set("f", "HOOK", f"whsec_{key}")
    assert report.next_attempt_at is not None
    assert tried(function.pk, report.next_attempt_at).status == "delivered"
    (got,) = loopback.received
    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    expected = base64.b64encode(hmac.new(base64.b64decode(key), signed, hashlib.sha256).digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(got.headers["webhook-timestamp"]) - timezone.now().timestamp()) < 60


def test_what_the_url_refuses_is_sent_again_under_the_same_id(loopback: Receiver) -> None:
    loopback.answers = [500, 302, 204]
    function = make_function("f", on_success={"url": loopback.url})
    ended(function)
    report, now = tried(function.pk), NOW
    for status in (500, 302):
        assert report.status == "pending" and str(status) in report.error
        assert report.next_attempt_at is not None and report.next_attempt_at > now
        now = report.next_attempt_at
        report = tried(function.pk, now)
    assert (report.status, report.attempt, report.error) == ("delivered", 3, "")
    assert len({got.headers["webhook-id"] for got in loopback.received}) == 1
    assert len({got.body for got in loopback.received}) == 1


def test_this_machine_is_not_called_and_not_asked_again() -> None:
    with receiver() as there:
        function = make_function("f", on_success={"url": there.url.replace("127.0.0.1", "localhost")})
        ended(function)
        report = tried(function.pk)
        assert (report.status, report.attempt) == ("failed", 1) and "not a public address" in report.error
        assert there.received == []


# -- to the event bus


def test_an_event_is_published_once_with_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[tuple[Any, int | None, int]] = []
    monkeypatch.setattr(delivery, "_publish", lambda event, owner, hops: published.append((event, owner, hops)))
    function = make_function("f", on_success={"event": {"type": "order.done", "source": "/shop"}})
    row = ended(function, hops=1)
    report = tried(function.pk)
    assert report.status == "delivered"
    ((event, owner, hops),) = published
    assert (event["specversion"], event["id"], event["source"]) == ("1.0", str(report.pk), "/shop")
    assert (event["type"], event["subject"], owner, hops) == ("order.done", str(row.pk), None, 1)
    assert event["data"]["responsePayload"] == {"done": True}


def test_the_bus_has_the_event_with_the_record() -> None:
    from triggers.models import Event

    function = make_function("f", on_failure={"event": {"type": "order.failed"}})
    row = ended(function, BAD, hops=3)
    report = tried(function.pk)
    assert report.status == "delivered", report.error
    event = Event.objects.get(type="order.failed")
    assert (event.event_id, event.source, event.subject) == (str(report.pk), "/nimbus/functions/f", str(row.pk))
    assert (event.hops, event.owner_id) == (3, None)
    assert json.loads(bytes(event.body))["data"]["requestContext"]["condition"] == "RetriesExhausted"


def test_a_payload_too_deep_for_an_event_is_told_and_kept() -> None:
    function = make_function("f", on_success={"event": {"type": "deep"}})
    ended(function, input=b"[" * 900 + b"]" * 900)
    report = tried(function.pk)
    assert report.status == "pending" and "nested" in report.error


def test_an_event_that_can_not_be_stored_is_not_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(delivery, "_publish", away)
    function = make_function("f", on_success={"event": {"type": "a"}})
    ended(function)
    report = delivery.take(function.pk, NOW)
    assert report is not None
    with pytest.raises(DatabaseError):
        delivery.deliver(report, NOW)
    assert Report.objects.get().status == "pending"


# -- set, shown, sent again


@pytest.mark.parametrize("field", ["on_success", "on_failure"])
def test_set_shown_and_taken_away(api: Api, field: str) -> None:
    api.create("notify")
    made = api.create("f", **{field: "notify"})
    assert made[field] == {"function": "notify"}
    assert api.put("/functions/f", {field: "https://example.org/x"}).json()[field] == {"url": "https://example.org/x"}
    assert api.put("/functions/f", {"description": "d"}).json()[field] == {"url": "https://example.org/x"}
    assert api.get("/functions/f").json()["version"] == 1, "no part of a version"
    assert field not in api.put("/functions/f", {field: None}).json()


@pytest.mark.parametrize(
    "given",
    [7, "nobody", {"workflow": "w"}, {"url": "http://10.0.0.1"}, {"event": {}}, {"function": "f", "x": 1}, [], "a b"],
)
def test_wrong_ones_are_refused_by_name(api: Api, given: Any) -> None:
    assert "on_failure" in refusal(api.post("/functions", function_body(on_failure=given)), 400)["details"]
    api.create("there")
    assert "on_failure" in refusal(api.put("/functions/there", {"on_failure": given}), 400)["details"]


def function_body(**more: Any) -> dict[str, Any]:
    return {"name": "new", "runtime": "python3.11", "handler": "handler.main", "code": "main = 1"} | more


def test_a_report_is_shown_and_sent_again_when_it_was_given_up(api: Api) -> None:
    function = make_function("f", on_success={"url": "http://localhost/x"})
    row = ended(function)
    assert api.get(f"/invocations/{row.pk}/report").json()["status"] == "pending"
    refusal(api.post(f"/invocations/{row.pk}/report/retry"), 409, "report_not_failed")
    tried(function.pk)
    shown = api.get(f"/invocations/{row.pk}/report").json()
    assert (shown["status"], shown["attempts"], shown["destination"]) == ("failed", 1, {"url": "http://localhost/x"})
    assert shown["error"]
    answer = api.post(f"/invocations/{row.pk}/report/retry")
    assert (answer.status_code, answer.json()["status"], answer.json()["attempts"]) == (200, "pending", 0)
    assert tried(function.pk, timezone.now()).status == "failed"
    other = make_row(NOW)
    refusal(api.get(f"/invocations/{other.pk}/report"), 404, "report_not_found")
    refusal(api.get("/invocations/nothing/report"), 404, "invocation_not_found")


# -- whose


def test_nobody_reports_to_a_function_that_its_owner_may_not_call(locked_entrance: Api) -> None:
    ann, ben = (As(locked_entrance, make_key(name, "developer")) for name in ("ann", "ben"))
    ann.create("anns")
    theirs = ben.post("/functions", function_body(on_success="anns"))
    missing = ben.post("/functions", function_body(on_success="nobodys"))
    assert refusal(theirs, 400)["error"].replace("anns", "?") == refusal(missing, 400)["error"].replace("nobodys", "?")
    # What came to be theirs later.
    made = ben.create("bens")
    services.Function.objects.filter(pk=made["id"]).update(on_success={"function": "anns"})
    function = services.Function.objects.get(pk=made["id"])
    directory.forget_all()
    ended(function)
    report = tried(function.pk)
    assert report.status == "pending" and "no function" in report.error
    assert not Invocation.objects.filter(function_name="anns").exists()
    row = Report.objects.get()
    assert ben.get(f"/invocations/{row.invocation_id}/report").status_code == 200
    refusal(ann.get(f"/invocations/{row.invocation_id}/report"), 404, "invocation_not_found")
    refusal(ann.post(f"/invocations/{row.invocation_id}/report/retry"), 404, "invocation_not_found")


def test_what_the_run_did_not_reach_is_reported_as_it_was() -> None:
    """The worker was lost, the function deleted meanwhile: nothing to report to, nothing breaks."""
    function = make_function("f", on_failure={"event": {"type": "a"}})
    make_row(NOW, function_id=function.pk, max_attempts=1)
    services.function_delete("f")
    held = lifecycle.claim(function.pk, "w", NOW, 10)
    gone = Outcome(status=Status.FAILED, fault=Fault.CALLER, error="gone", error_type=ErrorType.FUNCTION_DELETED)
    assert held is not None and lifecycle.finish(held, gone, None, NOW, 0.0)
    assert not Report.objects.exists()
