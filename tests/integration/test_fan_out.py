"""From events to invocations: once each, whoever dies and however many work at it; with whose rights; replayed."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.principal import EMBEDDED, acting_as
from functions import services as functions
from invocations import services as invocations
from invocations.models import Invocation
from nimbus_project.core import redis
from nimbus_project.core.errors import Unavailable
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, in_threads, make_function, refusal
from triggers import bus, cloudevents, event_deliveries, event_replays, fan_out, patterns
from triggers.models import Event, EventDelivery, EventReplay, EventRule
from workers import reaper

pytestmark = pytest.mark.usefixtures("transactional_db")

PAID: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.paid", "data": {"amount": 5}}


def event(**changes: Any) -> cloudevents.CloudEvent:
    return cloudevents.from_json(PAID | changes)


def publish(*events: cloudevents.CloudEvent, owner_id: int | None = None, **more: Any) -> Event:
    accepted = bus.publish(events or [event()], owner_id, **more)
    return Event.objects.get(pk=accepted[0].id)


def rule(name: str = "on-paid", **changes: Any) -> EventRule:
    from triggers.event_rules import rule_create

    given: dict[str, Any] = {"pattern": {"type": ["order.paid"]}, "targets": [{"function": "hello"}]}
    return rule_create(name=name, **given | changes)


@pytest.fixture
def hello() -> Any:
    return make_function()


def inputs() -> list[Any]:
    rows = Invocation.objects.filter(trigger_type="event").order_by("created_at")
    return [orjson.loads(bytes(row.input)) for row in rows]


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


# -- targets that can't be called


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


# -- whose rights


@pytest.fixture
def people(locked_entrance: Api) -> dict[str, As]:
    roles = {"ann": "developer", "ben": "developer", "root": "admin"}
    named = {name: As(locked_entrance, make_key(name, role)) for name, role in roles.items()}
    for name in ("ann", "ben"):
        named[name].create(f"of-{name}")
    return named


def user_id(name: str) -> int:
    from accounts.selectors import user_get

    return int(user_get(name).pk)


def on_paid(who: As, function: str, name: str = "on-paid") -> dict[str, Any]:
    answer = who.post(
        "/event-rules", {"name": name, "pattern": {"type": ["order.paid"]}, "targets": [{"function": function}]}
    )
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def fired() -> list[str]:
    return sorted(Invocation.objects.values_list("function_name", flat=True))


def test_a_rule_sees_its_owners_events_and_everybodys(people: dict[str, As]) -> None:
    for name in ("ann", "ben"):
        on_paid(people[name], f"of-{name}")
    publish(owner_id=user_id("ann"))
    fan_out.run()
    assert fired() == ["of-ann"]
    publish(owner_id=None)
    fan_out.run()
    assert fired() == ["of-ann", "of-ann", "of-ben"]
    publish(event(id="s"), owner_id=user_id("ben"), shared=True)
    fan_out.run()
    assert fired() == ["of-ann"] * 3 + ["of-ben"] * 2


def test_an_administrators_rule_sees_all_and_its_events_are_its_own(people: dict[str, As]) -> None:
    on_paid(people["root"], "of-ann")
    on_paid(people["ben"], "of-ben")
    publish(owner_id=user_id("ben"))
    publish(owner_id=user_id("root"))
    fan_out.run()
    assert fired() == ["of-ann", "of-ann", "of-ben"]


def test_a_rule_of_nobody_does_no_more_than_what_is_everybodys(people: dict[str, As]) -> None:
    with acting_as(EMBEDDED):
        make_function("nobodys")
        rule(targets=[{"function": "nobodys"}])
        with pytest.raises(Exception, match="no function"):
            rule("too-much", targets=[{"function": "of-ann"}])
    publish(owner_id=user_id("ann"))
    publish(owner_id=None)
    fan_out.run()
    assert fired() == ["nobodys"]


def test_a_developers_key_of_an_administrator_makes_no_administrators_rule(people: dict[str, As]) -> None:
    from accounts.selectors import user_get
    from accounts.services import api_key_create

    lesser = As(people["root"].api, api_key_create(user_get("root"), name="lesser", role="developer")[1])
    lesser.create("of-root")
    on_paid(lesser, "of-root", "lesser")
    publish(owner_id=user_id("ann"))
    fan_out.run()
    assert fired() == []
    publish(owner_id=user_id("root"))
    fan_out.run()
    assert fired() == ["of-root"]


@pytest.mark.parametrize(
    ("change", "statuses"),
    [({"role": "viewer"}, ["failed"]), ({"active": False}, [])],
)
def test_an_owner_who_may_call_no_more(people: dict[str, As], change: dict[str, Any], statuses: list[str]) -> None:
    name = f"was-{secrets.token_hex(4)}"
    former = As(people["root"].api, make_key(name, "developer"))
    former.create("of-former")
    on_paid(former, "of-former")
    assert people["root"]("PATCH", f"/users/{name}", json=change).status_code == 200
    publish(owner_id=user_id(name))
    fan_out.run()
    assert fired() == []
    assert list(EventDelivery.objects.values_list("status", flat=True)) == statuses


def test_a_function_that_is_shared_no_more(people: dict[str, As]) -> None:
    assert people["ann"]("PATCH", "/functions/of-ann", json={"shared": True}).status_code == 200
    on_paid(people["ben"], "of-ann")
    publish(owner_id=user_id("ben"))
    fan_out.run()
    assert fired() == ["of-ann"]
    assert people["ann"]("PATCH", "/functions/of-ann", json={"shared": False}).status_code == 200
    publish(event(id="2"), owner_id=user_id("ben"))
    fan_out.run()
    assert fired() == ["of-ann"]
    shown = people["ben"].get(f"/events/{Event.objects.get(event_id='2').pk}").json()["deliveries"]
    assert [one["status"] for one in shown] == ["failed"]


def test_deliveries_are_shown_to_who_owns_the_rule(people: dict[str, As]) -> None:
    on_paid(people["ann"], "of-ann")
    on_paid(people["ben"], "of-ben")
    stored = publish(owner_id=None)
    fan_out.run()
    for name, functions_seen in (("ann", ["of-ann"]), ("ben", ["of-ben"]), ("root", ["of-ann", "of-ben"])):
        shown = people[name].get(f"/events/{stored.pk}").json()
        assert sorted(one["function"] for one in shown["deliveries"]) == functions_seen
        assert shown["status"] == "fanned_out"


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


# -- replays


@pytest.fixture
def archive(hello: Any) -> list[Event]:
    """Ten events, one a minute, the last a minute ago; nobody was listening."""
    now = timezone.now()
    events = [publish(event(id=str(n), data={"amount": n})) for n in range(10)]
    fan_out.run()
    for number, one in enumerate(events):
        one.accepted_at = now - timedelta(minutes=10 - number)
        one.save(update_fields=["accepted_at"])
    assert not EventDelivery.objects.exists()
    return events


def amounts() -> list[int]:
    return sorted(one["data"]["amount"] for one in inputs())


def test_a_range_is_replayed_to_the_rules_that_fit(archive: list[Event], api: Api) -> None:
    rule(pattern={"data": {"amount": [{"numeric": ["<", 6]}]}})
    rule("off", enabled=False)
    asked = {"from": archive[2].accepted_at.isoformat(), "to": archive[8].accepted_at.isoformat()}
    answer = api.post("/events/replay", asked)
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert (made["status"], made["events"]) == ("running", 0)
    fan_out.run()
    done = api.get(f"/events/replay/{made['id']}").json()
    assert (done["status"], done["events"], done["deliveries"]) == ("completed", 6, 4)
    assert done["completed_at"] and amounts() == [2, 3, 4, 5], "from is in it, to is not"
    assert {str(row.replay_id) for row in EventDelivery.objects.all()} == {made["id"]}
    shown = api.get(f"/events/{archive[3].pk}").json()["deliveries"]
    assert [one["replay_id"] for one in shown] == [made["id"]]
    api.post("/events/replay", asked)
    fan_out.run()
    assert amounts() == [2, 2, 3, 3, 4, 4, 5, 5], "each replay delivers anew"
    assert api.get("/events/replay").json()["total"] == 2


def test_to_one_rule_only(archive: list[Event], api: Api) -> None:
    rule("one", pattern={"data": {"amount": [1]}})
    rule("other", pattern={"data": {"amount": [2]}})
    asked = {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z", "rule": "one"}
    made = api.post("/events/replay", asked).json()
    assert made["rule"] == "one" and made["to"] < "2100"
    fan_out.run()
    assert amounts() == [1]


def test_replays_that_are_refused(archive: list[Event], api: Api) -> None:
    asked = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    rule("off", enabled=False)
    for changes, status, field in (
        ({"from": "noon"}, 400, "from"),
        ({"from": 5}, 400, "from"),
        ({"to": None}, 400, "to"),
        ({"to": "0001-01-01T00:00:00+14:00"}, 400, "to"),
        ({"to": asked["from"]}, 400, "to"),
        ({"rule": "nothing"}, 404, ""),
        ({"rule": "off"}, 409, ""),
        ({"speed": 5}, 400, "speed"),
    ):
        told = refusal(api.post("/events/replay", asked | changes), status)
        assert set(told.get("details", {})) == ({field} if field else set()), changes
    refusal(api.post("/events/replay", {}), 400)
    refusal(api.get("/events/replay/nothing"), 404, "event_replay_not_found")
    for _ in range(event_replays.MAX_RUNNING):
        assert api.post("/events/replay", asked).status_code == 202
    refusal(api.post("/events/replay", asked), 409, "too_many_replays")


def test_a_worker_that_dies_in_a_replay_loses_and_repeats_nothing(
    archive: list[Event], api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule()
    api.post("/events/replay", {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"})
    real, calls = event_deliveries.submit_all, []

    def dies_in_the_second_batch(asked: Any) -> Any:
        calls.append(asked)
        answers = real(asked)
        if len(calls) == 2:
            raise SystemExit
        return answers

    monkeypatch.setattr(event_replays, "BATCH", 3)
    with monkeypatch.context() as patch:
        patch.setattr(event_deliveries, "submit_all", dies_in_the_second_batch)
        with pytest.raises(SystemExit):
            fan_out.run()
    assert amounts() == [0, 1, 2]
    EventReplay.objects.update(due_at=timezone.now())
    fan_out.run()
    assert amounts() == list(range(10))
    assert EventReplay.objects.get().events == 10


def test_many_workers_replay_once(archive: list[Event], api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    rule()
    api.post("/events/replay", {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"})
    monkeypatch.setattr(event_replays, "LEASE", timedelta(0))
    monkeypatch.setattr(event_replays, "BATCH", 2)

    def work(_: int) -> None:
        while fan_out.waiting(timezone.now()):
            fan_out._step()

    assert in_threads(5, work) == [None] * 5
    assert amounts() == list(range(10))
    assert (EventReplay.objects.get().events, EventReplay.objects.get().deliveries) == (10, 10)


def test_a_replay_has_the_rights_of_who_asked(people: dict[str, As]) -> None:
    publish(owner_id=user_id("ann"))
    publish(event(id="2"), owner_id=user_id("ben"))
    fan_out.run()
    for name in ("ann", "ben"):
        on_paid(people[name], f"of-{name}")
    asked = {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
    made = people["ann"].post("/events/replay", asked).json()
    fan_out.run()
    assert fired() == ["of-ann"]
    refusal(people["ben"].get(f"/events/replay/{made['id']}"), 404, "event_replay_not_found")
    people["root"].post("/events/replay", asked)
    fan_out.run()
    assert fired() == ["of-ann", "of-ann", "of-ben"]


def test_the_archive_loses_what_is_old_and_done(archive: list[Event], api: Api) -> None:
    from triggers.retention import Wanted, prune

    rule()
    functions.function_set_online("hello", online=False)
    api.post("/events/replay", {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"})
    fan_out.run()
    waiting = publish(event(id="waits"))
    EventDelivery.objects.filter(event_id=archive[0].pk).update(status="failed")
    later = timezone.now() + timedelta(days=20)
    gone = prune(Wanted(tables=("events", "event_deliveries", "event_replays")), later, 60, pause=lambda _: None)
    assert gone.deleted == {"events": 10, "event_deliveries": 1, "event_replays": 1}
    assert Event.objects.get() == waiting and EventDelivery.objects.count() == 9


def test_submit_is_the_only_door(hello: Any) -> None:
    """The bus has no shortcut to a run: quotas and all else that the door checks hold for events."""
    assert event_deliveries.submit_all is invocations.submit_all
