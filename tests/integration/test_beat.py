"""What beat has in its tables: the entries of workers/celery.py, once, however many beats there are."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
import redis.exceptions
from celery import Celery
from django.db import OperationalError, ProgrammingError
from django_celery_beat.models import PeriodicTask

from nimbus_project.config import ROOT
from nimbus_project.core.queue import CLOCK, QUEUES, Task
from nimbus_project.core.redis import connection
from tests.integration.plane import in_threads
from tests.services import wait_until
from workers.beat import AWAY_SEC, BeatScheduler

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def app() -> Any:
    from workers.celery import app

    PeriodicTask.objects.all().delete()
    yield app
    PeriodicTask.objects.all().delete()


def made(app: Any) -> BeatScheduler:
    scheduler = BeatScheduler(app=app)
    # Else it would write to its tables when the tests are over and their database is gone.
    scheduler._finalize.cancel()
    return scheduler


def begun(app: Any) -> BeatScheduler:
    """After its first tick, which reads and writes its tables."""
    scheduler = made(app)
    scheduler.tick()
    assert scheduler._is_set_up
    return scheduler


def test_each_entry_goes_by_the_queue_of_its_task(app: Any) -> None:
    for name, entry in app.conf.beat_schedule.items():
        assert Task(entry["task"]) in QUEUES[entry["options"]["queue"]], name
        assert entry["options"]["expire_seconds"] > 0, name


def test_two_beats_that_start_at_once_make_one_entry_each(app: Any) -> None:
    for result in in_threads(2, lambda _: begun(app).schedule):
        assert not isinstance(result, BaseException), result
    ours = PeriodicTask.objects.filter(task__startswith="nimbus.")
    assert sorted(ours.values_list("name", flat=True)) == sorted(app.conf.beat_schedule)
    tick = ours.get(name="tick")
    assert (tick.task, tick.queue, tick.expire_seconds) == (Task.TICK, CLOCK, 5)
    assert (tick.interval.every, tick.interval.period) in {(1, "seconds"), (1_000_000, "microseconds")}


def test_a_beat_that_starts_later_changes_nothing(app: Any) -> None:
    begun(app)
    before = set(PeriodicTask.objects.values_list("pk", "name"))
    second = begun(app)
    assert set(PeriodicTask.objects.values_list("pk", "name")) == before
    assert set(app.conf.beat_schedule) <= set(second.schedule)


def test_the_night_begins_when_the_settings_say(app: Any) -> None:
    begun(app)
    crontab = PeriodicTask.objects.get(name="retention").crontab
    assert (crontab.hour, crontab.minute, str(crontab.timezone)) == ("3", "17", "UTC")
    entry = begun(app).schedule["retention"]
    entry.schedule.nowfun = lambda: datetime(2026, 6, 2, 3, 17, 1, tzinfo=UTC)
    assert entry.schedule.is_due(datetime(2026, 6, 1, 3, 17, 1, tzinfo=UTC)).is_due
    entry.schedule.nowfun = lambda: datetime(2026, 6, 2, 3, 16, 1, tzinfo=UTC)
    assert not entry.schedule.is_due(datetime(2026, 6, 1, 3, 17, 1, tzinfo=UTC)).is_due


def away(*_: Any, **__: Any) -> Any:
    raise OperationalError("couldn't get a connection after 5.00 sec")


def said(caplog: pytest.LogCaptureFixture) -> Counter[str]:
    return Counter(record.getMessage() for record in caplog.records if record.name == "nimbus.beat")


def test_a_database_that_is_away_when_it_starts_is_waited_for(
    app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as outage:
        outage.setattr(BeatScheduler, "enabled_models", away)
        scheduler = made(app)
        assert [scheduler.tick() for _ in range(5)] == [AWAY_SEC] * 5
    scheduler.tick()
    assert set(app.conf.beat_schedule) <= set(scheduler.schedule)
    assert said(caplog) == {
        "the schedule can't be read: the database is away": 1,
        "over: the schedule can't be read: the database is away": 1,
    }


def test_entries_that_could_not_be_written_are_written_later(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as outage:
        outage.setattr(BeatScheduler.Entry, "from_entry", away)
        scheduler = made(app)
        scheduler.tick()
        assert not PeriodicTask.objects.filter(name="tick").exists()
    scheduler.tick()
    assert set(app.conf.beat_schedule) <= set(scheduler.schedule)


def test_a_change_that_could_not_be_read_is_read_later(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = begun(app)
    PeriodicTask.objects.get(name="leftovers").delete()
    with monkeypatch.context() as outage:
        outage.setattr(BeatScheduler, "enabled_models", away)
        assert scheduler.tick() == AWAY_SEC
        assert "leftovers" in scheduler._schedule
    scheduler.tick()
    assert "leftovers" not in scheduler.schedule


def test_a_mistake_of_ours_is_no_outage(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(_: Any) -> Any:
        raise ProgrammingError("no such table")

    monkeypatch.setattr(BeatScheduler, "enabled_models", wrong)
    with pytest.raises(ProgrammingError):
        made(app).tick()


def test_a_queue_that_is_away_is_told_once_and_costs_no_tick(
    app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise redis.exceptions.ConnectionError("gone")

    scheduler = made(app)
    with monkeypatch.context() as outage:
        outage.setattr(BeatScheduler, "send_task", broken)
        outage.setattr(Celery, "send_task", broken)
        for task in app.tasks.values():
            outage.setattr(task, "apply_async", broken, raising=False)
        for _ in range(3):
            wait_until(lambda: scheduler.tick() == 0, 30, "something to be due")
    assert said(caplog) == {"nobody is told that time passes: Redis is away": 1}
    assert connection().llen(CLOCK) == 0
    wait_until(lambda: scheduler.tick() >= 0 and connection().llen(CLOCK) > 0, 30, "a message of the clock")


def test_neither_beat_nor_a_worker_has_the_pages_of_the_web_in_memory() -> None:
    """Django's checks, which Celery runs before it has anything to do, would import them all."""
    ready = "import sys; from workers.celery import app; app.loader.import_default_modules()"
    asks = [sys.executable, "-c", f"{ready}; print('nimbus_project.urls' in sys.modules)"]
    found = subprocess.run(asks, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.split() == ["False"]
