"""The scribe: this worker's thread that moves finished runs from the ledger's stream into the database."""

from __future__ import annotations

import logging
import threading
import time

from django.db import DatabaseError, close_old_connections
from redis import Redis
from redis.exceptions import RedisError

from invocations import ledger

log = logging.getLogger("nimbus.scribe")

GATHER_SEC = 0.05
"""Between two batches: what arrives meanwhile is written at once."""
BLOCK_MS = 1000
TAKE_OVER_EVERY_SEC = 5.0


class Scribe:
    """Runs until stopped; a last time after that."""

    def __init__(self, client: Redis, name: str) -> None:
        self._client = client
        self._name = name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="nimbus-scribe", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def _work(self) -> None:
        took_over_at = 0.0
        while not self._stop.is_set():
            if time.monotonic() - took_over_at > TAKE_OVER_EVERY_SEC:
                took_over_at = time.monotonic()
                self._try_take_over()
            if self._try_write(BLOCK_MS):
                self._stop.wait(GATHER_SEC)
        self._try_write(1)

    def _try_take_over(self) -> None:
        try:
            ledger.take_over_abandoned(self._client, self._name)
        except (RedisError, DatabaseError) as error:
            log.warning("abandoned records can't be written yet", extra={"reason": str(error)})

    def _try_write(self, block_ms: int) -> int:
        try:
            return ledger.drain_once(self._client, self._name, block_ms=block_ms)
        except (RedisError, DatabaseError) as error:
            # What was read stays pending in the group and is taken over later, by this writer or another.
            log.warning("records can't be written yet", extra={"reason": str(error)})
            self._stop.wait(0.5)
            return 0
        finally:
            close_old_connections()
