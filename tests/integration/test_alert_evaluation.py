"""Alerts looked at: what is measured of whom, what is stored once however many look, and what is told."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from django.utils import timezone

from functions.models import Function
from invocations import lifecycle
from invocations.models import Invocation
from invocations.outcome import Fault, Outcome, Status
from nimbus_project.core.ids import new_id
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, in_threads, make_row
from triggers import alert_evaluation, alerts
from triggers.models import AlertChange, AlertNotification, AlertRule, Event

pytestmark = pytest.mark.usefixtures("transactional_db")

HOOK = {"type": "webhook", "url": "https://hooks.example/path"}


def alert(name: str = "fails", **changes: Any) -> AlertRule:
    given: dict[str, Any] = {"kind": "error_rate", "threshold": 0.1, "window_sec": 300, "min_samples": 10}
    return alerts.alert_create(name=name, **given | {"function": "hello", "channels": [HOOK]} | changes)


def ran(count: int, function: str = "hello", **values: Any) -> None:
    """Runs that ended just now."""
    now, row = timezone.now(), Function.objects.get(name=function)
    fixed: dict[str, Any] = {
        "request_id": "r", "function_id": row.pk, "function_name": row.name, "runtime": "python3.11", "version": 1,
        "owner_id": row.owner_id, "status": "success", "start_kind": "warm", "duration_ms": 10.0, "input": b"{}",
        "created_at": now, "completed_at": now,
    }  # fmt: skip
    Invocation.objects.bulk_create(Invocation(id=new_id(), **fixed | values) for _ in range(count))


def look(after_sec: float = 0.0) -> int:
    return alert_evaluation.evaluate_all(timezone.now() + timedelta(seconds=after_sec))


def of(name: str = "fails") -> AlertRule:
    return AlertRule.objects.get(name=name)


def told() -> list[str]:
    return list(AlertNotification.objects.order_by("created_at").values_list("told", flat=True))


def test_from_ok_to_firing_to_resolved(api: Api) -> None:
    api.create()
    alert()
    assert look() == 0 and of().state == "ok"
    ran(8)
    ran(2, status="failed", fault="function")
    assert look(10) == 1
    assert (of().state, of().last_value, of().last_samples, of().told_firing) == ("firing", 0.2, 10, True)
    for after in range(20, 100, 10):
        assert look(after) == 0, "no repeats while it fires"
    assert look(400) == 1, "the window has moved on"
    assert of().state == "resolved" and told() == ["firing", "resolved"]
    changes = list(AlertChange.objects.order_by("at").values_list("state", "silenced"))
    assert changes == [("firing", False), ("resolved", False)]
    history = api.get("/alerts/fails/history").json()["history"]
    assert [one["state"] for one in history] == ["resolved", "firing"]
    assert history[1]["reason"] == "20 % is over the threshold of 10 %, of 10 runs."
    events = [orjson.loads(bytes(row.body)) for row in Event.objects.order_by("accepted_at")]
    assert [one["type"] for one in events] == ["nimbus.alert.fired", "nimbus.alert.resolved"]
    assert events[0]["source"] == "/nimbus/functions/hello" and events[0]["data"]["value"] == 0.2


def test_many_beats_tell_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.create()
    alert()
    ran(10, status="failed", fault="function")
    monkeypatch.setattr(alert_evaluation, "LEAST", timedelta(0))
    in_threads(8, lambda _: look(1))
    assert told() == ["firing"] and AlertChange.objects.count() == 1 and Event.objects.count() == 1


def test_silenced_it_is_looked_at_and_tells_nothing(api: Api) -> None:
    api.create()
    alert()
    ran(10, status="failed", fault="function")
    api.post("/alerts/fails/silence", {"duration_sec": 3600})
    assert look() == 1
    assert of().state == "firing" and told() == [] and AlertChange.objects.get().silenced
    api.post("/alerts/fails/unsilence")
    assert look(10) == 1 and told() == ["firing"]


def test_who_silences_while_it_is_being_looked_at_is_heard(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.create()
    alert()
    ran(10, status="failed", fault="function")
    real = alert_evaluation.decide

    def silenced_meanwhile(*args: Any) -> Any:
        api.post("/alerts/fails/silence", {"duration_sec": 3600})
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(alert_evaluation, "decide", silenced_meanwhile)
        assert look() == 0
    assert told() == [] and of().state == "ok"
    assert look(10) == 1 and told() == []


def test_disabling_one_that_fires_ends_it(api: Api) -> None:
    api.create()
    alert()
    ran(10, status="failed", fault="function")
    look()
    api.put("/alerts/fails", {"enabled": False})
    assert of().state == "resolved" and told() == ["firing", "resolved"]
    assert look(10) == 0


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ({"status": "failed", "fault": "function"}, True),
        ({"status": "timeout", "fault": "function"}, True),
        ({"status": "failed", "fault": "platform"}, True),
        ({"status": "cancelled", "fault": "caller"}, False),
        ({"status": "failed", "fault": "caller"}, False),
        ({"status": "running"}, False),
        ({"status": "failed", "fault": "function", "function_id": new_id()}, False),
        ({"status": "failed", "fault": "function", "created_at": timezone.now() - timedelta(seconds=400)}, False),
    ],
)
def test_what_counts_as_a_failure(api: Api, values: dict[str, Any], counts: bool) -> None:
    api.create()
    alert()
    ran(10)
    ran(10, **values)
    look()
    assert (of().last_value or 0.0) == (0.5 if counts else 0.0)


def test_a_percentile_and_cold_starts(api: Api) -> None:
    api.create()
    alert("slow", kind="p95_ms", threshold=100)
    alert("cold", kind="cold_start_rate", threshold=0.2)
    ran(18)
    ran(2, duration_ms=500.0, start_kind="cold")
    look()
    assert (of("slow").state, of("slow").last_value) == ("firing", 500.0)
    assert (of("cold").state, of("cold").last_value, of("cold").last_samples) == ("ok", 0.1, 20)


def test_dead_letters(api: Api) -> None:
    function_id = api.create(max_retries=0)["id"]
    alert("dead", kind="dead_letters", threshold=1)
    for count in (1, 2):
        api.post("/functions/hello/async", {})
        now = timezone.now()
        row = lifecycle.claim(Function.objects.get(pk=function_id).pk, "w", now, 10)
        assert row is not None
        outcome = Outcome(status=Status.FAILED, fault=Fault.FUNCTION, error="e", error_type="E")
        assert lifecycle.finish(row, outcome, None, now, 0.0)
        look(count * 10)
        assert (of("dead").state, of("dead").last_value) == ("firing" if count > 1 else "ok", float(count))


def test_the_age_of_the_queue(api: Api) -> None:
    api.create()
    api.create("other")
    alert("old", kind="queue_age_sec", threshold=60)
    alert("all", kind="queue_age_sec", threshold=60, function="")
    now: datetime = timezone.now()
    make_row(now - timedelta(seconds=90), function_id=Function.objects.get(name="other").pk)
    make_row(now - timedelta(seconds=10), function_id=Function.objects.get(name="hello").pk)
    make_row(now, function_id=Function.objects.get(name="hello").pk, delay_sec=3600)
    look()
    assert (of("old").state, of("all").state) == ("ok", "firing")
    assert 9 < (of("old").last_value or 0) < 60 < 89 < (of("all").last_value or 0)


def test_whose_functions_are_measured(locked_entrance: Api) -> None:
    ann, ben = (As(locked_entrance, make_key(name, "developer")) for name in ("ann", "ben"))
    root = As(locked_entrance, make_key("root", "admin"))
    for who, name in ((ann, "anns"), (ben, "bens")):
        who.create(name)
        ran(10, name, status="failed", fault="function")
    all_of = {"name": "all", "kind": "error_rate", "threshold": 0.5}
    for who in (ann, ben, root):
        assert who.post("/alerts", all_of).status_code == 201
    look()
    samples = {row.owner.username: row.last_samples for row in AlertRule.objects.select_related("owner") if row.owner}
    assert samples == {"ann": 10, "ben": 10, "root": 20}


def test_a_function_that_is_not_the_owners_to_see_any_more(locked_entrance: Api) -> None:
    ann, ben = (As(locked_entrance, make_key(name, "developer")) for name in ("ann", "ben"))
    ann.create("anns")
    ann("PATCH", "/functions/anns", json={"shared": True})
    rule = {"name": "theirs", "kind": "error_rate", "threshold": 0.5, "function": "anns"}
    assert ben.post("/alerts", rule).status_code == 201
    ran(10, "anns", status="failed", fault="function")
    ann("PATCH", "/functions/anns", json={"shared": False})
    look()
    assert (of("theirs").state, of("theirs").last_value, of("theirs").last_samples) == ("ok", None, 0)


def test_trouble_with_one_does_not_keep_the_others(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import DatabaseError

    from triggers import alert_measures

    api.create()
    alert("bad")
    alert("good")
    ran(10, status="failed", fault="function")
    real = alert_measures.measure

    def fails_for_one(rule: AlertRule, *more: Any) -> Any:
        if rule.name == "bad":
            raise DatabaseError("no")
        return real(rule, *more)

    monkeypatch.setattr(alert_measures, "measure", fails_for_one)
    assert look() == 1
    assert (of("bad").state, of("good").state) == ("ok", "firing")
