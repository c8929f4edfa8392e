"""The Celery app of workers and beat. `celery -A workers.celery worker --pool=threads`."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nimbus_project.settings")

import django

django.setup()

from celery import Celery, bootsteps

from nimbus_project.config import config
from nimbus_project.core.queue import Task, configure

ROLLOUTS_EVERY_SEC = 1.0

app = configure(Celery("nimbus"))
app.conf.update(
    imports=["workers.tasks"],
    beat_schedule={
        # Both go by the queue that is looked at first: a backlog must not hold up what clears it. Each look is as good
        # as the next one, so those that nobody got to are dropped.
        "sweep": {
            "task": str(Task.SWEEP),
            "schedule": config().sweep_interval_sec,
            "options": {"queue": "sync", "expire_seconds": 30},
        },
        "rollouts": {
            "task": str(Task.ROLLOUTS),
            "schedule": ROLLOUTS_EVERY_SEC,
            "options": {"queue": "sync", "expire_seconds": 5},
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


app.steps["worker"].add(Sandboxes)
