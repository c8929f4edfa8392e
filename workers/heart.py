"""The heart: tells every second that this worker lives and what it runs, and renews the leases of its rows."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from django.db import DatabaseError, close_old_connections
from django.utils import timezone
from redis.exceptions import RedisError

from functions import builds
from invocations import lifecycle
from nimbus_project.core import fleet, metrics
from workers.outage import Outage

if TYPE_CHECKING:
    from workers.worker import Worker

log = logging.getLogger("nimbus.heart")


class Heart:
    """One thread per worker."""

    def __init__(self, worker: Worker) -> None:
        self.started_at = time.time()
        self._worker = worker
        self._stop = threading.Event()
        self._unheard = Outage(log, "no heartbeat: Redis is away")
        self._unrenewed = Outage(log, "leases can't be renewed: the database is away")
        self._thread = threading.Thread(target=self._beat_on, name="nimbus-heart", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye, so that nobody waits for a heartbeat that won't come."""
        self._stop.set()
        self._thread.join(5)
        try:
            fleet.withdraw(self._worker.client, self._worker.id)
        except RedisError:
            log.warning("no goodbye: Redis is away")

    def _beat_on(self) -> None:
        renew_every = self._worker.settings.lease_sec / 3
        renewed_at = time.monotonic()
        while True:
            self._tell()
            # What did not succeed is tried again with the next beat.
            if time.monotonic() - renewed_at >= renew_every and self._renew():
                renewed_at = time.monotonic()
            if self._stop.wait(fleet.BEAT_SEC):
                return

    def _tell(self) -> None:
        state = self._worker.state()
        try:
            fleet.announce(self._worker.client, state)
        except RedisError as error:
            self._unheard.began(error)
        else:
            self._unheard.ended()
        for runtime, counts in state.pool.get("runtimes", {}).items():
            metrics.POOL_SIZE.labels(runtime).set(counts["size"])
            metrics.POOL_WARM.labels(runtime).set(counts["warm"])
            metrics.POOL_BUSY.labels(runtime).set(counts["busy"])

    def _renew(self) -> bool:
        return all([self._renew_rows(), self._renew_slots()])

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
