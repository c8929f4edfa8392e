"""A tick: what is due is fired once, whoever looks, with the clock as an argument."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from django.utils import timezone

from functions import services as functions
from invocations.models import Invocation
from nimbus_project.core import redis
from tests.integration.accounts import make_key
from tests.integration.plane import in_threads, make_function
from triggers import firing, schedules
from triggers.models import Schedule, ScheduleFire

pytestmark = pytest.mark.django_db(transaction=True)

EVERY_SECOND = "*/1 * * * * *"
T0 = datetime.fromisoformat("2026-06-01T12:00:00+00:00")


def sec(number: float) -> datetime:
    return T0 + timedelta(seconds=number)


def make(cron: str = EVERY_SECOND, at: datetime = T0, **given: Any) -> Schedule:
    """A schedule of a function `f` whose next fire time is the first one after `at`."""
    from functions.models import Function
    from triggers import schedule

    if not Function.objects.filter(name="f").exists():
        make_function("f")
    row = schedules.schedule_create(function="f", cron_expression=cron, **given)
    row.next_fire_at = schedule.next_fire(schedule.parse(row.cron_expression, row.cron_timezone), at)
    row.save(update_fields=["next_fire_at"])
    return row


def story(row: Schedule) -> list[tuple[str, float]]:
    """Status and seconds after T0 of its fires, oldest first."""
    fires = ScheduleFire.objects.filter(schedule_id=row.pk).order_by("fire_time", "pk")
    return [(fire.status, (fire.fire_time - T0).total_seconds()) for fire in fires]


def end_all() -> None:
    """As if every run had succeeded."""
    Invocation.objects.all().update(status="success", completed_at=timezone.now())


def test_the_run_is_an_invocation_like_any_other() -> None:
    row = make("0 30 12 * * *", payload={"kind": "daily"})
    assert firing.tick(sec(1799)) == 0
    assert firing.tick(sec(1800.4)) == 1
    run = Invocation.objects.get()
    assert (run.trigger_type, run.status, run.version, run.alias_used) == ("cron", "pending", 1, "")
    assert orjson.loads(bytes(run.input)) == {
        "source": "cron",
        "cron": "0 30 12 * * *",
        "scheduled_at": "2026-06-01T12:30:00Z",
        "payload": {"kind": "daily"},
    }
    assert story(row) == [("fired", 1800.0)]
    assert ScheduleFire.objects.get().invocation_id == run.pk
    assert redis.connection().llen("async") == 1
    row.refresh_from_db()
    assert row.next_fire_at == sec(1800 + 86400) and row.last_fire_at == sec(1800)


def test_the_event_has_no_payload_where_there_is_none() -> None:
    make()
    firing.tick(sec(1))
    assert set(orjson.loads(bytes(Invocation.objects.get().input))) == {"source", "cron", "scheduled_at"}


def test_each_second_once_however_many_look() -> None:
    row = make()
    for second in range(1, 7):
        in_threads(4, lambda _, s=second: firing.tick(sec(s + 0.3)))
    assert story(row) == [("fired", float(second)) for second in range(1, 7)]
    assert Invocation.objects.count() == 6


@pytest.mark.parametrize(
    ("night", "once"),
    [
        # The clock goes from 02:00 to 03:00 at 01:00 UTC: nobody sees 02:30.
        ("2026-03-29", []),
        # It goes from 03:00 to 02:00 at 01:00 UTC: 02:30 is at 00:30 UTC, and again at 01:30.
        ("2026-10-25", ["00:30"]),
    ],
)
def test_ticks_through_a_night_when_the_clock_is_changed(night: str, once: list[str]) -> None:
    """Worked out by hand; two workers tick at the same moment, every ten minutes."""
    begin = datetime.fromisoformat(f"{night}T00:00:00+00:00")
    daily = make("30 2 * * *", begin, name="daily", cron_timezone="Europe/Berlin")
    half_hourly = make("*/30 * * * *", begin, name="half-hourly", cron_timezone="Europe/Berlin")
    for minutes in range(0, 130, 10):
        in_threads(2, lambda _, now=begin + timedelta(minutes=minutes): firing.tick(now))

    def times(row: Schedule) -> list[str]:
        fires = ScheduleFire.objects.filter(schedule_id=row.pk, status="fired").order_by("fire_time")
        return [f"{fire.fire_time:%H:%M}" for fire in fires]

    assert times(daily) == once
    assert times(half_hourly) == ["00:30", "01:00", "01:30", "02:00"]
    assert Invocation.objects.count() == len(once) + 4


def test_many_schedules_by_many_at_once() -> None:
    rows = [make("* * * * *") for _ in range(30)]
    counts = in_threads(4, lambda _: firing.tick(sec(60)))
    assert sum(count for count in counts if isinstance(count, int)) == 30
    assert [story(row) for row in rows] == [[("fired", 60.0)]] * 30


def test_a_clock_behind_fires_nothing_again() -> None:
    row = make()
    firing.tick(sec(3))
    firing.tick(sec(1))
    firing.tick(sec(3))
    Schedule.objects.filter(pk=row.pk).update(next_fire_at=sec(2))
    firing.tick(sec(4))
    assert story(row) == [("fired", float(second)) for second in (1, 2, 3, 4)]


def test_what_fails_in_the_middle_leaves_nothing_and_is_done_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    from nimbus_project.core.errors import Unavailable

    first, second = make("0 1 12 * * *"), make("0 1 12 * * *")
    real = firing.submit

    def away(new: Any) -> Any:
        if not Invocation.objects.exists():
            return real(new)
        raise Unavailable("Redis is away.")

    monkeypatch.setattr(firing, "submit", away)
    assert firing.tick(sec(60)) == 1
    assert Counter(len(story(row)) for row in (first, second)) == {0: 1, 1: 1}
    monkeypatch.setattr(firing, "submit", real)
    assert firing.tick(sec(62)) == 1
    assert story(first) == story(second) == [("fired", 60.0)]


class TestPolicies:
    def test_late_within_the_grace_is_fired(self) -> None:
        row = make("*/10 * * * * *")
        firing.tick(sec(35))
        assert story(row) == [("fired", 10.0), ("fired", 20.0), ("fired", 30.0)]

    def test_missed_and_skipped(self) -> None:
        row = make("* * * * *")
        assert firing.tick(sec(3600 + 40)) == 0
        assert story(row) == [("missed", 60.0)]
        note = ScheduleFire.objects.get()
        assert note.missed == 60 and "60 fire times, from 2026-06-01 12:01:00" in note.reason
        assert firing.tick(sec(3600 + 60)) == 1

    def test_missed_and_made_up_for_once(self) -> None:
        row = make("* * * * *", catch_up_policy="catch_up_one")
        assert firing.tick(sec(3600 + 40)) == 1
        assert firing.tick(sec(3600 + 41)) == 0
        assert story(row) == [("missed", 60.0), ("fired", 3600.0)]
        assert ScheduleFire.objects.get(status="fired").is_catch_up
        assert b"13:00:00Z" in bytes(Invocation.objects.get().input)

    def test_one_missed_and_made_up_for(self) -> None:
        row = make("0 2 * * *", catch_up_policy="catch_up_one")
        assert firing.tick(T0 + timedelta(hours=20)) == 1
        assert story(row) == [("fired", 14 * 3600.0)]

    def test_no_two_at_once(self) -> None:
        row = make(overlap_policy="skip")
        firing.tick(sec(1))
        firing.tick(sec(3))
        end_all()
        firing.tick(sec(4))
        assert story(row) == [("fired", 1.0), ("skipped", 2.0), ("skipped", 3.0), ("fired", 4.0)]
        assert Invocation.objects.count() == 2

    def test_a_run_that_waits_for_another_try_has_not_ended(self) -> None:
        row = make(overlap_policy="skip")
        firing.tick(sec(1))
        Invocation.objects.update(next_attempt_at=sec(3600), attempt=1)
        firing.tick(sec(2))
        assert story(row)[-1] == ("skipped", 2.0)

    def test_a_run_by_request_counts_as_one(self) -> None:
        row = make(overlap_policy="skip")
        schedules.schedule_run(str(row.pk))
        firing.tick(sec(1))
        assert story(row)[0] == ("skipped", 1.0)

    def test_others_do_not(self) -> None:
        row, other = make(overlap_policy="skip"), make()
        firing.tick(sec(1))
        end_all()
        firing.tick(sec(2))
        assert story(row) == story(other)


class TestPause:
    def test_in_mid_flight(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A pause that comes while a tick fires waits for its end: after its answer nothing fires any more."""
        row = make()
        inside, go = threading.Event(), threading.Event()
        seen: list[int] = []
        real = firing.submit

        def slow(new: Any) -> Any:
            inside.set()
            assert go.wait(30)
            return real(new)

        def work(number: int) -> None:
            if number == 0:
                firing.tick(sec(1))
                return
            assert inside.wait(30)
            if number == 1:
                schedules.schedule_set_enabled(str(row.pk), enabled=False)
                seen.append(Invocation.objects.count())
            else:
                # A pause that would not wait has its answer meanwhile, and sees no run yet.
                go.wait(0.3)
                go.set()

        monkeypatch.setattr(firing, "submit", slow)
        for result in in_threads(3, work):
            assert result is None, result
        assert seen == [1]
        assert firing.tick(sec(31)) == 0

    def test_what_a_pause_held_up_is_neither_missed_nor_made_up_for(self) -> None:
        row = make("* * * * *", catch_up_policy="catch_up_one")
        schedules.schedule_set_enabled(str(row.pk), enabled=False)
        assert firing.tick(sec(7200)) == 0
        after = schedules.schedule_set_enabled(str(row.pk), enabled=True).next_fire_at
        assert after is not None and after > timezone.now()
        assert story(row) == []

    def test_a_change_of_the_expression_counts_from_now(self) -> None:
        row = make("* * * * *")
        changed = schedules.schedule_update(str(row.pk), cron_expression="0 4 1 1 *")
        assert changed.next_fire_at is not None and changed.next_fire_at > timezone.now()
        assert firing.tick(sec(120)) == 0


class TestTheFunction:
    def test_offline_is_refused_and_said(self) -> None:
        row = make()
        functions.function_set_online("f", online=False)
        assert firing.tick(sec(1)) == 0
        assert story(row) == [("refused", 1.0)]
        assert "offline" in ScheduleFire.objects.get().reason
        functions.function_set_online("f", online=True)
        assert firing.tick(sec(2)) == 1

    def test_an_alias_that_is_gone(self) -> None:
        from functions import aliases
        from functions.models import Alias

        make_function("f")
        functions.function_update("f", memory_mb=512)
        aliases.alias_create("f", name="prod", weights=[{"version": 1, "weight": 100}])
        row = make(alias="prod")
        firing.tick(sec(1))
        run = Invocation.objects.get()
        assert (run.version, run.alias_used) == (1, "prod")
        Alias.objects.all().delete()
        from functions import directory

        directory.forget_all()
        firing.tick(sec(2))
        assert story(row) == [("fired", 1.0), ("refused", 2.0)]

    def test_a_version(self) -> None:
        make_function("f")
        functions.function_update("f", memory_mb=512)
        make(version=1)
        firing.tick(sec(1))
        assert Invocation.objects.get().version == 1

    def test_deleted_with_its_schedules(self) -> None:
        make()
        functions.function_delete("f")
        assert firing.tick(sec(1)) == 0
        assert not Schedule.objects.exists()

    def test_over_quota(self) -> None:
        from accounts import quotas
        from accounts.models import Quota

        row = make()
        Quota.objects.create(max_invocations_per_day=1)
        quotas.forget_all()
        try:
            firing.tick(sec(1))
            firing.tick(sec(2))
        finally:
            Quota.objects.all().delete()
            quotas.forget_all()
        assert [status for status, _ in story(row)] == ["fired", "refused"]
        assert "quota" in ScheduleFire.objects.get(status="refused").reason


class TestTheOwner:
    @pytest.fixture
    def owned(self) -> Schedule:
        from accounts.selectors import user_get

        make_key("ann", "developer")
        make_function("f")
        functions.function_give("f", user_get("ann").pk)
        return make()

    def test_its_rights_today(self, owned: Schedule) -> None:
        from accounts import services
        from accounts.selectors import user_get

        firing.tick(sec(1))
        run = Invocation.objects.get()
        assert run.owner_id == run.caller_id == user_get("ann").pk
        services.user_update("ann", role="viewer")
        firing.tick(sec(2))
        services.user_update("ann", role="invoker")
        firing.tick(sec(3))
        services.user_update("ann", active=False)
        firing.tick(sec(4))
        assert [status for status, _ in story(owned)] == ["fired", "refused", "fired", "refused"]


class TestOwnSchedules:
    def test_they_follow_the_function(self) -> None:
        make_function("f", cron_expression="0 9 * * *", cron_timezone="Europe/Berlin")
        firing.tick(T0)
        row = Schedule.objects.get()
        assert (row.is_own, row.cron_expression, row.cron_timezone) == (True, "0 9 * * *", "Europe/Berlin")
        assert row.next_fire_at == datetime.fromisoformat("2026-06-02T07:00:00+00:00")
        functions.function_update("f", cron_expression="0 10 * * *")
        firing.tick(T0)
        again = Schedule.objects.get()
        assert again.pk == row.pk and again.next_fire_at == row.next_fire_at + timedelta(hours=1)
        functions.function_update("f", cron_timezone="UTC")
        firing.tick(T0)
        assert Schedule.objects.get().next_fire_at == datetime.fromisoformat("2026-06-02T10:00:00+00:00")
        functions.function_update("f", cron_expression="")
        firing.tick(T0)
        assert not Schedule.objects.exists()

    def test_they_fire(self) -> None:
        make_function("f", cron_expression=EVERY_SECOND)
        firing.tick(T0)
        assert firing.tick(sec(1)) == 1

    def test_a_pause_outlasts_a_change(self) -> None:
        make_function("f", cron_expression=EVERY_SECOND)
        firing.tick(T0)
        schedules.schedule_set_enabled(str(Schedule.objects.get().pk), enabled=False)
        functions.function_update("f", cron_expression="* * * * *")
        firing.tick(T0)
        row = Schedule.objects.get()
        assert (row.enabled, row.next_fire_at, row.cron_expression) == (False, None, "* * * * *")

    def test_many_make_one(self) -> None:
        make_function("f", cron_expression=EVERY_SECOND)
        for result in in_threads(6, lambda _: firing.tick(T0)):
            assert result == 0, result
        assert Schedule.objects.count() == 1

    def test_a_zone_that_is_no_more_harms_no_other(self) -> None:
        from functions.models import Function

        make_function("g", cron_expression=EVERY_SECOND)
        row = make()
        Function.objects.filter(name="g").update(cron_timezone="Mars/Olympus")
        Schedule.objects.create(function=row.function, name="old", cron_expression="x", next_fire_at=T0)
        assert firing.tick(sec(1)) == 1
        assert Schedule.objects.get(is_own=True).next_fire_at is None
        assert Schedule.objects.get(name="old").next_fire_at is None

    def test_a_clone_does_not_run_by_itself(self) -> None:
        make_function("f", cron_expression=EVERY_SECOND)
        functions.function_clone("f", "g")
        firing.tick(T0)
        assert Schedule.objects.get().function.name == "f"


def test_fires_are_counted() -> None:
    from prometheus_client import REGISTRY

    def count() -> float:
        return REGISTRY.get_sample_value("nimbus_cron_fires_total") or 0.0

    make()
    before = count()
    firing.tick(sec(2))
    assert count() == before + 2
