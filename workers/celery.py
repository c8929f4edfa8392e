"""The Celery app of workers and beat. `celery -A workers.celery worker --pool=threads`."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nimbus_project.settings")
# Django's checks import every page and route of the API, 24 MB in each worker and in beat, which have neither. The
# `migrate` that comes before them runs the same checks.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")

import warnings

import django

django.setup()

from celery import Celery, bootsteps
from celery.exceptions import CPendingDeprecationWarning
from celery.schedules import crontab

from nimbus_project.config import config
from nimbus_project.core.queue import CLOCK, Task, configure
from workers import broker

# Said whenever Redis goes: of tasks that are acknowledged late, and none of ours is.
warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)

TICK_EVERY_SEC = 1.0
ROLLOUTS_EVERY_SEC = 1.0
ALERTS_EVERY_SEC = 15.0
LEFTOVERS_EVERY_SEC = 3600.0

broker.take_the_schemes()
app = configure(Celery("nimbus"))
app.conf.update(
    imports=["workers.tasks"],
    beat_schedule={
        # The first three go by the queue that is looked at first: a backlog must not hold up what clears it. Each look
        # is as good as the next one, so those that nobody got to are dropped.
        "tick": {
            "task": str(Task.TICK),
            "schedule": TICK_EVERY_SEC,
            "options": {"queue": CLOCK, "expire_seconds": 5},
        },
        "sweep": {
            "task": str(Task.SWEEP),
            "schedule": config().sweep_interval_sec,
            "options": {"queue": CLOCK, "expire_seconds": 30},
        },
        "rollouts": {
            "task": str(Task.ROLLOUTS),
            "schedule": ROLLOUTS_EVERY_SEC,
            "options": {"queue": CLOCK, "expire_seconds": 5},
        },
        "retention": {
            "task": str(Task.RETENTION),
            "schedule": crontab(minute="17", hour=str(config().retention_hour)),
            "options": {"queue": "build", "expire_seconds": 6 * 3600},
        },
        "alerts": {
            "task": str(Task.ALERTS),
            "schedule": ALERTS_EVERY_SEC,
            "options": {"queue": "sync", "expire_seconds": ALERTS_EVERY_SEC},
        },
        "leftovers": {
            "task": str(Task.LEFTOVERS),
            "schedule": LEFTOVERS_EVERY_SEC,
            "options": {"queue": "build", "expire_seconds": LEFTOVERS_EVERY_SEC},
        },
    },
    beat_max_loop_interval=1,
)


class Sandboxes(bootsteps.StartStopStep):
    """This process's pool and its threads: up before the first task, down after the last."""

    # Stopped before the thread pool: when that waits for its threads, no run may hold one any more.
    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        from workers import worker

        worker.open_worker(threads=parent.concurrency)

    def stop(self, parent: Any) -> None:
        from workers import worker

        worker.close_worker()

    terminate = stop


class Clock(bootsteps.StartStopStep):
    """This process's hand for the clock, up as long as its sandboxes are."""

    requires = (Sandboxes,)

    def __init__(self, parent: Any, **options: Any) -> None:
        from workers.clock import ClockHand

        super().__init__(parent, **options)
        self._hand = ClockHand(parent.app.tasks)

    def start(self, parent: Any) -> None:
        self._hand.start()

    def stop(self, parent: Any) -> None:
        self._hand.stop()

    terminate = stop


app.steps["worker"].add(Sandboxes)
app.steps["worker"].add(Clock)
