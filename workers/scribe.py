"""The scribe: this worker's thread that moves finished runs from the journal into the database."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from django.db import close_old_connections
from redis import Redis
from redis.exceptions import RedisError

from invocations import ledger, rows
from invocations.journal import Journal, Position, abandoned
from nimbus_project.core.outage import Outage
from nimbus_project.core.unforeseen import outage_of

log = logging.getLogger("nimbus.scribe")

GATHER_SEC = 0.1
"""Between two batches: what arrives meanwhile is written at once."""
TAKE_OVER_EVERY_SEC = 2.0
AWAY_SEC = 0.5
"""Between two tries while the database is away."""
BROKEN_SEC = 5.0
"""Between two tries that something unforeseen ends, each with its traceback in the log."""


class Scribe:
    """Runs until stopped; a last time after that."""

    def __init__(self, client: Redis, folder: Path, name: str) -> None:
        """Raises OSError when the journal can't be written."""
        self.journal = Journal(folder, name, rows.HEADING)
        self._folder = folder
        self._client = client
        self._reader = self.journal.reader()
        self._asked: list[tuple[Position, str]] = []
        """Who waits until which position is in the database."""
        self._hurry = threading.Event()
        self._stop = threading.Event()
        self._unwritten = Outage(log, "records can't be written yet")
        self._not_taken_over = Outage(log, "a dead worker's records can't be written yet")
        self._untold = Outage(log, "nobody can be told that records are written")
        self._thread = threading.Thread(target=self._work, name="nimbus-scribe", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._hurry.set()
        self.journal.news.set()
        self._thread.join(10)
        self.journal.close(self._reader.done)

    def settle(self, key: str) -> None:
        """Answer under this key when all that was written so far is in the database. From any thread."""
        self._asked.append((self.journal.end, key))
        self._hurry.set()
        self.journal.news.set()

    def _work(self) -> None:
        took_over_at = 0.0
        while not self._stop.is_set():
            if time.monotonic() - took_over_at > TAKE_OVER_EVERY_SEC:
                took_over_at = time.monotonic()
                self._take_over()
            self.journal.news.wait(TAKE_OVER_EVERY_SEC)
            self._hurry.wait(GATHER_SEC)
            self._hurry.clear()
            self.journal.news.clear()
            self._write_all()
        self._write_all()
        close_old_connections()

    def _write_all(self) -> None:
        """What is there now; what arrives meanwhile is the next round's, or each would be of a few records."""
        end = self.journal.end
        try:
            while (batch := self._reader.batch())[1]:
                ledger.store(*batch)
                self._reader.advance()
                self._answer()
                if self._reader.done >= end and not self._stop.is_set():
                    break
            self._answer()
        except Exception as error:
            # Without this thread nothing is written any more.
            if outage_of(error):
                self._unwritten.began(error)
                self._again_after(AWAY_SEC)
            else:
                log.exception("records could not be written")
                self._again_after(BROKEN_SEC)
        else:
            self._unwritten.ended()
        finally:
            close_old_connections()

    def _again_after(self, wait_sec: float) -> None:
        self.journal.news.set()
        self._stop.wait(wait_sec)

    def _answer(self) -> None:
        done = self._reader.done
        for request in [request for request in self._asked if request[0] <= done]:
            self._asked.remove(request)
            try:
                ledger.tell_settled(self._client, request[1])
            except RedisError as error:
                self._untold.began(error)
            else:
                self._untold.ended()

    def _take_over(self) -> None:
        """What workers have left that died."""
        try:
            for reader in abandoned(self._folder):
                while (batch := reader.batch())[1]:
                    ledger.store(*batch)
                    reader.advance()
        except Exception as error:
            if outage_of(error) or isinstance(error, OSError):
                self._not_taken_over.began(error)
            else:
                log.exception("a dead worker's records could not be written")
        else:
            self._not_taken_over.ended()
        finally:
            close_old_connections()
