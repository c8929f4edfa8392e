"""From events to invocations: once each, whoever dies and however many work at it."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from invocations import services as invocations
from invocations.models import Invocation
from nimbus_project.core import redis
from tests.integration.bus import PAID, event, hello, inputs, publish, rule
from tests.integration.plane import Api, in_threads, make_function
from triggers import bus, event_deliveries, fan_out, patterns
from triggers.models import Event, EventDelivery, EventRule
from workers import reaper

__all__ = ["hello"]

pytestmark = pytest.mark.usefixtures("transactional_db")


def test_an_event_calls_the_targets_of_the_rules_that_fit(hello: Any) -> None:
    make_function("other")
    rule(targets=[{"function": "hello"}, {"function": "other", "input_template": {"paid": "<$.data.amount>"}}])
    rule("all", pattern={"source": [{"prefix": "/"}]})
    rule("none", pattern={"type": ["order.sent"]})
    rule("off", enabled=False)
    stored = publish()
    assert fan_out.run() == 1
    rows = list(EventDelivery.objects.all())
    assert sorted((row.rule_name, row.target, row.function_name) for row in rows) == [
        ("all", 0, "hello"),
        ("on-paid", 0, "hello"),
        ("on-paid", 1, "other"),
    ]
    assert {row.status for row in rows} == {"delivered"}
    runs = {row.invocation_id: Invocation.objects.get(pk=row.invocation_id) for row in rows}
    assert {run.trigger_type for run in runs.values()} == {"event"}
    assert {run.status for run in runs.values()} == {"pending"}
    assert sorted(map(str, inputs())) == sorted(map(str, [PAID, PAID, {"paid": 5}]))
    stored.refresh_from_db()
    assert stored.fanned_out_at is not None and stored.error == ""
    assert fan_out.run() == 0 and Invocation.objects.count() == 3


def test_an_alias_chooses_the_version(api: Api) -> None:
    api.create()
    weights = {"routing_config": {"weights": [{"version": 1, "weight": 100}]}}
    api.post("/functions/hello/aliases", {"name": "prod", **weights})
    api.put("/functions/hello", {"code": "def main(e): return 2\n"})
    rule(targets=[{"function": "hello", "alias": "prod"}, {"function": "hello"}])
    publish()
    fan_out.run()
    assert sorted(Invocation.objects.values_list("version", "alias_used")) == [(1, "prod"), (2, "")]


def test_many_workers_fan_out_once(hello: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread as if it were the only one of its process, and leases that run out at once, so that the same event is
    taken up again and again while it is being worked on."""
    rule(targets=[{"function": "hello"}] * 3)
    for number in range(30):
        publish(event(id=str(number)))
    monkeypatch.setattr(fan_out, "LEASE", timedelta(0))
    monkeypatch.setattr(fan_out, "MAX_TRIES", 10_000)

    def work(_: int) -> None:
        while fan_out.waiting(timezone.now()):
            fan_out._step()

    assert in_threads(6, work) == [None] * 6
    assert EventDelivery.objects.count() == Invocation.objects.count() == 90
    assert Event.objects.filter(fanned_out_at=None).count() == 0


def test_one_thread_of_a_process_is_enough(hello: Any) -> None:
    with fan_out._busy:
        publish()
        assert fan_out.run() == 0
    assert fan_out.run() == 1


def test_a_worker_that_dies_leaves_nothing_half_done(hello: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rule(targets=[{"function": "hello"}] * 3)
    publish()
    real = event_deliveries.submit_all

    def dies_having_stored_them(asked: Any) -> Any:
        real(asked)
        assert Invocation.objects.count() == 3
        raise SystemExit

    monkeypatch.setattr(event_deliveries, "submit_all", dies_having_stored_them)
    with pytest.raises(SystemExit):
        fan_out.run()
    monkeypatch.undo()
    assert not EventDelivery.objects.exists() and not Invocation.objects.exists()
    assert fan_out.run() == 0, "its lease has not run out"
    Event.objects.update(due_at=timezone.now())
    assert fan_out.run() == 1
    assert EventDelivery.objects.count() == Invocation.objects.count() == 3


def test_what_kills_every_worker_is_given_up(hello: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rule()
    poison, good = publish(), publish(event(id="2"))
    Event.objects.filter(pk=poison.pk).update(tries=fan_out.MAX_TRIES)
    fan_out.run()
    poison.refresh_from_db()
    good.refresh_from_db()
    assert poison.fanned_out_at is not None and "none concluded it" in poison.error
    assert good.error == "" and EventDelivery.objects.get().event_id == good.pk


def test_trouble_with_one_event_does_not_keep_the_others(hello: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rule()
    bad = publish()
    for number in range(5):
        publish(event(id=f"g{number}"))
    Event.objects.filter(pk=bad.pk).update(body=b"no json")
    fan_out.run()
    assert Event.objects.filter(fanned_out_at=None).get() == bad
    assert EventDelivery.objects.count() == 5


def test_the_sweep_finds_what_was_left(hello: Any) -> None:
    rule()
    publish()
    redis.connection().delete("sync")
    reaper.sweep()
    sent = [orjson.loads(one)["headers"]["task"] for one in redis.connection().lrange("sync", 0, -1)]
    assert sent == ["nimbus.fan_out"]
    fan_out.run()
    redis.connection().delete("sync")
    reaper.sweep()
    assert not redis.connection().lrange("sync", 0, -1)


def test_an_event_with_too_many_values(hello: Any) -> None:
    rule("costly", pattern={"data": {"many": ["x"]}})
    rule("cheap")
    stored = publish(event(data={"many": list(range(patterns.MAX_STEPS))}))
    fan_out.run()
    stored.refresh_from_db()
    assert "costly" in stored.error and EventDelivery.objects.get().rule_name == "cheap"


# -- many at once, by rules in memory


def test_its_cost_does_not_grow_with_events_and_targets(hello: Any) -> None:
    def asked(count: int) -> int:
        publish(*(event(id=secrets.token_hex(8)) for _ in range(count)))
        with CaptureQueriesContext(connection) as queries:
            fan_out.run()
        return len(queries)

    rule(targets=[{"function": "hello"}] * 2)
    publish()
    fan_out.run()
    one = asked(1)
    for number in range(5):
        rule(f"more-{number}", targets=[{"function": "hello"}] * 4)
    assert asked(20) <= one + 1, "to read the new rules"
    assert asked(20) == one
    assert Invocation.objects.count() == EventDelivery.objects.count() == 2 + 2 + 22 * 40


def test_messages_are_one_for_each_function(hello: Any) -> None:
    make_function("other")
    rule(targets=[{"function": "hello"}, {"function": "other"}] * 3)
    publish(*(event(id=str(number)) for number in range(5)))
    redis.connection().delete("async")
    fan_out.run()
    sent = [orjson.loads(one) for one in redis.connection().lrange("async", 0, -1)]
    assert len(sent) == 2 and {one["headers"]["task"] for one in sent} == {"nimbus.run_invocation"}


def test_rules_are_those_of_the_moment(hello: Any) -> None:
    """Whatever other processes have changed, and without hearing of it: the database alone is told here."""
    made = rule()
    seen = []

    def next_one() -> None:
        publish(event(id=str(len(seen))))
        fan_out.run()
        seen.append(EventDelivery.objects.count())

    next_one()
    same = EventRule.objects.filter(pk=made.pk)
    same.update(pattern='{"type": ["order.sent"]}', updated_at=timezone.now())
    next_one()
    same.update(pattern='{"type": ["order.paid"]}', updated_at=timezone.now())
    next_one()
    same.update(enabled=False)
    next_one()
    same.update(enabled=True)
    next_one()
    same.delete()
    next_one()
    assert seen == [1, 1, 2, 2, 3, 3]


def test_a_batch_that_takes_too_long_is_cut_short(hello: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rest is taken up again at once, not when the lease has run out, and nothing twice."""
    rule()
    monkeypatch.setattr(fan_out, "MATCHING_SEC", 0.0)
    publish(*(event(id=str(number)) for number in range(4)))
    assert fan_out.run() == 4, "one by one"
    assert EventDelivery.objects.count() == Invocation.objects.count() == 4


def test_what_is_too_much_for_one_statement_goes_by_several(hello: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rule(targets=[{"function": "hello"}] * 5)
    monkeypatch.setattr(event_deliveries, "PORTION", 3)
    monkeypatch.setattr(fan_out, "TOGETHER_BYTES", 150)
    publish(*(event(id=str(number)) for number in range(3)))
    assert fan_out.run() == 3, "each event is more than half of it"
    monkeypatch.setattr(event_deliveries, "PORTION_BYTES", 1)
    publish(event(id="last"))
    fan_out.run()
    assert EventDelivery.objects.count() == Invocation.objects.count() == 20


def test_an_exception_among_many_makes_none_of_them_wait(hello: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The insert of one fails: the batch is undone, each is tried by itself, and that one comes back by its lease."""
    rule()
    publish(*(event(id=str(number)) for number in range(4)), event(id="bad"))
    real = event_deliveries.submit_all

    def refuses(asked: Any) -> Any:
        answers = real(asked)
        if any(b'"bad"' in new.event for _, new in asked):
            raise ValueError("no")
        return answers

    with monkeypatch.context() as patch:
        patch.setattr(event_deliveries, "submit_all", refuses)
        fan_out.run()
    assert EventDelivery.objects.count() == Invocation.objects.count() == 4
    assert Event.objects.get(fanned_out_at=None).event_id == "bad"
    Event.objects.update(due_at=timezone.now())
    fan_out.run()
    assert EventDelivery.objects.count() == Invocation.objects.count() == 5


def test_a_quota_takes_what_is_left_of_it(api: Api) -> None:
    from accounts import quotas
    from accounts.models import Quota

    api.create()
    rule()
    Quota.objects.create(owner=None, max_invocations_per_day=2)
    quotas.forget_all()
    try:
        publish(*(event(id=str(number)) for number in range(3)))
        fan_out.run()
    finally:
        Quota.objects.all().delete()
        quotas.forget_all()
    assert sorted(EventDelivery.objects.values_list("status", flat=True)) == ["delivered", "delivered", "pending"]
    assert Invocation.objects.count() == 2


# -- round and round


def test_what_goes_round_is_stopped(hello: Any) -> None:
    rule()
    last = publish(hops=bus.MAX_HOPS)
    fan_out.run()
    assert EventDelivery.objects.filter(event_id=last.pk).count() == 1
    stopped = publish(event(id="2"), hops=bus.MAX_HOPS + 1)
    fan_out.run()
    stopped.refresh_from_db()
    assert "going round" in stopped.error
    assert not EventDelivery.objects.filter(event_id=stopped.pk).exists()


def test_events_stand_or_fall_with_their_transaction(hello: Any) -> None:
    rule()
    with transaction.atomic():
        publish()
        transaction.set_rollback(True)
    assert not Event.objects.exists() and fan_out.run() == 0


def test_submit_is_the_only_door(hello: Any) -> None:
    """The bus has no shortcut to a run: quotas and all else that the door checks hold for events."""
    assert event_deliveries.submit_all is invocations.submit_all
