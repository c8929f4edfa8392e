"""What the platform tells on its own bus: with what happened or not at all, to whom it concerns, and not for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import pytest
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from functions import directory, news, rollouts
from functions import services as functions
from functions.models import Function
from invocations import lifecycle
from invocations.models import DeadLetter, Invocation
from invocations.outcome import Fault, Outcome, Status
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, make_function
from triggers import bus, fan_out, platform_events
from triggers.event_rules import rule_create
from triggers.models import Event

pytestmark = pytest.mark.usefixtures("transactional_db")

FAILED = Outcome(status=Status.FAILED, fault=Fault.FUNCTION, error="boom \u20ac", error_type="ValueError")
GOOD = Outcome(status=Status.SUCCESS, output=b"1")


def end(function_id: UUID, outcome: Outcome) -> Invocation:
    """Run the next queued invocation of a function, as a worker would, to this end."""
    now = timezone.now()
    row = lifecycle.claim(function_id, "w", now, 10)
    assert row is not None
    assert lifecycle.finish(row, outcome, None, now, 0.0)
    return row


def told() -> list[dict[str, Any]]:
    return [orjson.loads(bytes(row.body)) for row in Event.objects.order_by("accepted_at")]


def test_an_invocation_given_up_is_told_once(api: Api) -> None:
    made = api.create(max_retries=1)
    function_id = UUID(made["id"])
    api.post("/functions/hello/async", {"secret": "event"})
    end(function_id, FAILED)
    assert told() == [], "it will be tried again"
    Invocation.objects.update(next_attempt_at=timezone.now())
    row = end(function_id, FAILED)
    (event,) = told()
    assert (event["type"], event["source"]) == ("nimbus.invocation.failed", "/nimbus/functions/hello")
    assert event["subject"] == event["data"]["invocation_id"] == str(row.pk)
    data = event["data"]
    assert (data["error"], data["error_type"], data["attempts"]) == ("boom €", "ValueError", 2)
    assert (data["reason"], data["trigger_type"]) == ("retries_exhausted", "async")
    assert data["dead_letter_id"] == str(DeadLetter.objects.get().pk)
    assert "secret" not in str(event)
    assert Event.objects.get().owner_id is None


def test_what_succeeds_is_not_told_and_costs_nothing(api: Api, django_assert_max_num_queries: Any) -> None:
    function_id = UUID(api.create()["id"])
    api.post("/functions/hello/async", {})
    now = timezone.now()
    row = lifecycle.claim(function_id, "w", now, 10)
    assert row is not None
    # As a worker that runs it knows its function.
    directory.look_up(str(function_id))
    with django_assert_max_num_queries(1):
        lifecycle.finish(row, GOOD, None, now, 0.0)
    assert told() == []


def test_the_event_is_there_exactly_when_the_end_is(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    function_id = UUID(api.create(max_retries=0)["id"])
    api.post("/functions/hello/async", {})
    now = timezone.now()
    row = lifecycle.claim(function_id, "w", now, 10)
    assert row is not None
    with transaction.atomic():
        lifecycle.finish(row, FAILED, None, now, 0.0)
        assert len(told()) == 1
        transaction.set_rollback(True)
    assert told() == [] and Invocation.objects.get().status == "running"
    assert lifecycle.finish(row, FAILED, None, now, 0.0)
    assert not lifecycle.finish(row, FAILED, None, now, 0.0), "somebody else has ended it"
    assert len(told()) == 1


def test_trouble_on_the_bus_does_not_keep_an_invocation_from_ending(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import DatabaseError, connection

    def broken(*args: object, **more: object) -> None:
        with connection.cursor() as cursor:
            try:
                cursor.execute("SELECT nothing FROM nowhere")
            except DatabaseError:
                pass
            cursor.execute("SELECT 1")

    function_id = UUID(api.create(max_retries=0)["id"])
    api.post("/functions/hello/async", {})
    monkeypatch.setattr(bus, "publish", broken)
    end(function_id, FAILED)
    assert Invocation.objects.get().status == "failed" and DeadLetter.objects.count() == 1


def test_a_function_that_fails_on_its_own_failure_stops(api: Api) -> None:
    function_id = UUID(api.create(max_retries=0)["id"])
    rule_create(name="again", pattern={"type": ["nimbus.invocation.failed"]}, targets=[{"function": "hello"}])
    api.post("/functions/hello/async", {})
    runs = 0
    while Invocation.objects.filter(status="pending").exists():
        end(function_id, FAILED)
        runs += 1
        assert runs < 50
        fan_out.run()
    assert runs == bus.MAX_HOPS + 2
    assert "going round" in Event.objects.order_by("-accepted_at")[0].error
    hops = list(Invocation.objects.order_by("created_at").values_list("hops", flat=True))
    assert hops == list(range(bus.MAX_HOPS + 2))


def test_a_rollout_that_went_back_is_told(api: Api) -> None:
    api.create()
    api.put("/functions/hello", {"code": "def main(e): return 2\n"})
    weights = {"routing_config": {"weights": [{"version": 1, "weight": 100}]}}
    api.post("/functions/hello/aliases", {"name": "prod", **weights})
    plan = {"version": 2, "steps": [50, 100], "interval_sec": 60, "max_error_rate": 0.1, "min_samples": 5}
    assert api.post("/functions/hello/aliases/prod/rollout", plan).status_code == 201
    now = timezone.now()
    ran = {"function_id": Function.objects.get().pk, "function_name": "hello", "runtime": "python3.11", "version": 2}
    fixed = {"alias_used": "prod", "status": "failed", "fault": "function", "input": b"{}", "created_at": now}
    Invocation.objects.bulk_create(Invocation(request_id="r", **ran, **fixed) for _ in range(10))
    rollouts.advance_all()
    started, back = told()
    assert (started["type"], back["type"]) == ("nimbus.rollout.started", "nimbus.rollout.rolled_back")
    assert (back["subject"], back["data"]["version"]) == ("hello:prod", 2)
    assert "10 of 10" in back["data"]["reason"]
    assert back["id"] != started["id"]


def test_it_is_for_the_owner_of_the_function(locked_entrance: Api) -> None:
    ann, ben = (As(locked_entrance, make_key(name, "developer")) for name in ("ann", "ben"))
    function_id = UUID(ann.create("anns", max_retries=0)["id"])
    ann.post("/functions/anns/async", {})
    end(function_id, FAILED)
    assert [who.get("/events").json()["total"] for who in (ann, ben)] == [1, 0]
    functions.function_update("anns", shared=True)
    ann.post("/functions/anns/async", {})
    end(function_id, FAILED)
    assert [who.get("/events").json()["total"] for who in (ann, ben)] == [2, 1]


def test_nothing_of_a_payload_is_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    function_id = UUID(api.create(max_retries=0)["id"])
    api.post("/functions/hello/async", {"pin": "one-two-three"})
    with caplog.at_level("INFO"):
        end(function_id, Outcome(status=Status.FAILED, fault=Fault.FUNCTION, error="pin one-two-three", error_type="E"))
    assert "invocation.failed" in caplog.text
    assert "one-two-three" not in "".join(str(record.__dict__) for record in caplog.records)


def test_the_bus_listens() -> None:
    assert platform_events.hear in news._listeners
    make_function()
    platform_events.hear("something.else", {})
    assert told() == []


def test_old_failures_are_of_their_time(api: Api) -> None:
    """A replay brings the platform's events too."""
    function_id = UUID(api.create(max_retries=0)["id"])
    api.post("/functions/hello/async", {})
    end(function_id, FAILED)
    fan_out.run()
    Event.objects.update(accepted_at=F("accepted_at") - timedelta(minutes=5))
    rule_create(name="late", pattern={"type": [{"prefix": "nimbus."}]}, targets=[{"function": "hello"}])
    now = timezone.now()
    asked = {"from": (now - timedelta(hours=1)).isoformat(), "to": now.isoformat()}
    assert api.post("/events/replay", asked).status_code == 202
    fan_out.run()
    assert Invocation.objects.filter(trigger_type="event").count() == 1
