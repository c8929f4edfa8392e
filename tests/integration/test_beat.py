"""What beat has in its tables: the entries of workers/celery.py, once, however many beats there are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django_celery_beat.models import PeriodicTask

from nimbus_project.core.queue import CLOCK, QUEUES, Task
from tests.integration.plane import in_threads
from workers.beat import BeatScheduler

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def app() -> Any:
    from workers.celery import app

    PeriodicTask.objects.all().delete()
    yield app
    PeriodicTask.objects.all().delete()


def test_each_entry_goes_by_the_queue_of_its_task(app: Any) -> None:
    for name, entry in app.conf.beat_schedule.items():
        assert Task(entry["task"]) in QUEUES[entry["options"]["queue"]], name
        assert entry["options"]["expire_seconds"] > 0, name


def test_two_beats_that_start_at_once_make_one_entry_each(app: Any) -> None:
    for result in in_threads(2, lambda _: BeatScheduler(app=app).schedule):
        assert not isinstance(result, BaseException), result
    ours = PeriodicTask.objects.filter(task__startswith="nimbus.")
    assert sorted(ours.values_list("name", flat=True)) == sorted(app.conf.beat_schedule)
    tick = ours.get(name="tick")
    assert (tick.task, tick.queue, tick.expire_seconds) == (Task.TICK, CLOCK, 5)
    assert (tick.interval.every, tick.interval.period) in {(1, "seconds"), (1_000_000, "microseconds")}


def test_a_beat_that_starts_later_changes_nothing(app: Any) -> None:
    BeatScheduler(app=app)
    before = set(PeriodicTask.objects.values_list("pk", "name"))
    second = BeatScheduler(app=app)
    assert set(PeriodicTask.objects.values_list("pk", "name")) == before
    assert set(app.conf.beat_schedule) <= set(second.schedule)


def test_the_night_begins_when_the_settings_say(app: Any) -> None:
    BeatScheduler(app=app)
    crontab = PeriodicTask.objects.get(name="retention").crontab
    assert (crontab.hour, crontab.minute, str(crontab.timezone)) == ("3", "17", "UTC")
    entry = BeatScheduler(app=app).schedule["retention"]
    entry.schedule.nowfun = lambda: datetime(2026, 6, 2, 3, 17, 1, tzinfo=UTC)
    assert entry.schedule.is_due(datetime(2026, 6, 1, 3, 17, 1, tzinfo=UTC)).is_due
    entry.schedule.nowfun = lambda: datetime(2026, 6, 2, 3, 16, 1, tzinfo=UTC)
    assert not entry.schedule.is_due(datetime(2026, 6, 1, 3, 17, 1, tzinfo=UTC)).is_due
