"""Targets of events that can't be called: tried again, given up, gone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from functions import services as functions
from invocations.models import Invocation
from nimbus_project.core.errors import Unavailable
from tests.integration.bus import event, hello, publish, rule
from tests.integration.plane import Api, in_threads, make_function
from triggers import event_deliveries, fan_out
from triggers.models import EventDelivery

__all__ = ["hello"]

pytestmark = pytest.mark.usefixtures("transactional_db")


def only() -> EventDelivery:
    return EventDelivery.objects.get()


def test_a_target_that_is_offline_is_tried_again(hello: Any) -> None:
    rule()
    functions.function_set_online("hello", online=False)
    publish()
    fan_out.run()
    waits = only()
    assert (waits.status, waits.attempts, waits.invocation_id) == ("pending", 1, None)
    assert "offline" in waits.error and waits.next_attempt_at is not None and waits.next_attempt_at > timezone.now()
    assert fan_out.run() == 0
    EventDelivery.objects.update(next_attempt_at=timezone.now())
    fan_out.run()
    assert (only().status, only().attempts) == ("pending", 2)
    functions.function_set_online("hello", online=True)
    EventDelivery.objects.update(next_attempt_at=timezone.now())
    fan_out.run()
    assert (only().status, only().attempts, only().error) == ("delivered", 3, "")
    assert Invocation.objects.get().pk == only().invocation_id


def test_in_the_end_it_is_given_up(hello: Any) -> None:
    rule()
    functions.function_set_online("hello", online=False)
    publish()
    fan_out.run()
    EventDelivery.objects.update(next_attempt_at=timezone.now(), created_at=F("created_at") - event_deliveries.MAX_AGE)
    fan_out.run()
    assert only().status == "failed" and "offline" in only().error and only().next_attempt_at is None


def test_retries_by_many_workers_deliver_once(hello: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rule(targets=[{"function": "hello"}] * 5)
    functions.function_set_online("hello", online=False)
    publish()
    fan_out.run()
    functions.function_set_online("hello", online=True)
    EventDelivery.objects.update(next_attempt_at=timezone.now())
    monkeypatch.setattr(event_deliveries, "LEASE", timedelta(0))

    def work(_: int) -> None:
        while fan_out.waiting(timezone.now()):
            fan_out._step()

    assert in_threads(6, work) == [None] * 6
    assert Invocation.objects.count() == 5
    assert set(EventDelivery.objects.values_list("status", flat=True)) == {"delivered"}


@pytest.mark.parametrize("gone", ["function", "alias", "rule", "target"])
def test_what_is_gone_is_not_tried_again(api: Api, gone: str) -> None:
    api.create()
    api.create("other")
    weights = {"routing_config": {"weights": [{"version": 1, "weight": 100}]}}
    api.post("/functions/hello/aliases", {"name": "prod", **weights})
    made = rule(targets=[{"function": "hello", "alias": "prod"}])
    if gone in ("rule", "target"):
        functions.function_set_online("hello", online=False)
    publish()
    if gone in ("rule", "target"):
        fan_out.run()
        EventDelivery.objects.update(next_attempt_at=timezone.now())
    if gone == "rule":
        api("DELETE", f"/event-rules/{made.pk}")
    elif gone == "target":
        api.put(f"/event-rules/{made.pk}", {"targets": [{"function": "other"}]})
    else:
        assert api("DELETE", "/functions/hello" + ("/aliases/prod" if gone == "alias" else "")).status_code == 204
    fan_out.run()
    assert only().status == "failed" and only().error
    assert not Invocation.objects.exists()


def test_one_target_of_several_fails(hello: Any) -> None:
    make_function("other")
    rule(targets=[{"function": "hello"}, {"function": "other"}])
    functions.function_delete("hello")
    publish()
    fan_out.run()
    assert sorted(EventDelivery.objects.values_list("function_name", "status")) == [
        ("hello", "failed"),
        ("other", "delivered"),
    ]


def test_redis_away_is_waited_for(hello: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rule()
    publish()

    def away(asked: Any) -> Any:
        return [Unavailable("away") for _ in asked]

    with monkeypatch.context() as patch:
        patch.setattr(event_deliveries, "submit_all", away)
        fan_out.run()
    assert only().status == "pending"


def test_what_a_template_makes_too_large(hello: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from nimbus_project.config import config

    rule(targets=[{"function": "hello", "input_template": ["<$.data>"] * 20}, {"function": "hello"}])
    publish(event(data="x" * (config().max_event_bytes // 10)))
    fan_out.run()
    assert sorted(EventDelivery.objects.values_list("target", "status")) == [(0, "failed"), (1, "delivered")]
