"""The heart: tells every second that this worker lives and what it runs, and renews the leases of its rows and slots.

Redis and the database have a thread each: while one of them makes its callers wait, this worker is neither thought
dead nor are its runs given to others."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from django.db import DatabaseError, close_old_connections
from django.utils import timezone
from redis.exceptions import RedisError

from functions import builds
from invocations import lifecycle
from nimbus_project.core import fleet, metrics
from nimbus_project.core.away import REDIS
from nimbus_project.core.outage import Outage

if TYPE_CHECKING:
    from workers.worker import Worker

log = logging.getLogger("nimbus.heart")


class Heart:
    """Two threads per worker."""

    def __init__(self, worker: Worker) -> None:
        self.started_at = time.time()
        self._worker = worker
        self._stop = threading.Event()
        self._unheard = Outage(log, "no heartbeat: Redis is away")
        self._unrenewed = Outage(log, "leases can't be renewed: the database is away")
        lease_sec = worker.settings.lease_sec
        self._threads = [
            threading.Thread(target=self._go_on, name=f"nimbus-heart-{name}", args=[*jobs], daemon=True)
            for name, jobs in {
                "redis": [(self._tell, 0.0), (self._renew_slots, lease_sec / 3)],
                "database": [(self._renew_rows, lease_sec / 3)],
            }.items()
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Say goodbye, so that nobody waits for a heartbeat that won't come."""
        self._stop.set()
        for thread in self._threads:
            thread.join(5)
        try:
            fleet.withdraw(self._worker.client, self._worker.id)
        except RedisError:
            log.warning("no goodbye: Redis is away")

    def _go_on(self, *jobs: tuple[Callable[[], bool], float]) -> None:
        """Each job as often as it wants. What did not succeed is tried again with the next beat."""
        done_at = [-every for _, every in jobs]
        while True:
            for number, (job, every) in enumerate(jobs):
                now = time.monotonic()
                if now - done_at[number] >= every and self._does(job):
                    done_at[number] = now
            if self._stop.wait(fleet.BEAT_SEC):
                return

    def _does(self, job: Callable[[], bool]) -> bool:
        try:
            return job()
        except Exception:
            # Without this thread all that the worker runs would be given to others.
            log.exception("a beat of the heart failed")
            return False

    def _tell(self) -> bool:
        state = self._worker.state()
        try:
            fleet.announce(self._worker.client, state)
        except RedisError as error:
            self._unheard.began(error)
        else:
            self._unheard.ended()
            REDIS.ended()
        for runtime, counts in state.pool.get("runtimes", {}).items():
            metrics.POOL_SIZE.labels(runtime).set(counts["size"])
            metrics.POOL_WARM.labels(runtime).set(counts["warm"])
            metrics.POOL_BUSY.labels(runtime).set(counts["busy"])
        return True

    def _renew_rows(self) -> bool:
        worker = self._worker
        ids = [row.pk for row in list(worker.invocations.values())]
        task_ids = [task.pk for task in list(worker.builds.values())]
        if not ids and not task_ids:
            return True
        try:
            lifecycle.renew(worker.id, ids, timezone.now(), worker.settings.lease_sec)
            builds.renew(task_ids, worker.id, timezone.now(), worker.settings.lease_sec)
        except DatabaseError as error:
            self._unrenewed.began(error)
            return False
        finally:
            close_old_connections()
        self._unrenewed.ended()
        return True

    def _renew_slots(self) -> bool:
        try:
            self._worker.slots.renew()
        except RedisError:
            return False
        return True
