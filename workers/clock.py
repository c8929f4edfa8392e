"""A hand for the clock: one thread beside Celery's that runs what is in the queue CLOCK.

Celery's threads take from that queue first. Yet they may all be taken, for as long as functions run and calls wait for
a sandbox; schedules would be late by that. So a message goes to whoever is there first, a thread of Celery's or this
one. What is in the queue is Celery's own (beat puts it there) and takes milliseconds.
"""

from __future__ import annotations

import logging
import secrets
import threading
from base64 import b64decode
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson
from django.db import close_old_connections
from redis.exceptions import RedisError

from nimbus_project.core import redis
from nimbus_project.core.outage import Outage
from nimbus_project.core.queue import CLOCK
from nimbus_project.core.unforeseen import outage_of

log = logging.getLogger("nimbus.clock")

WAIT_SEC = 1
AWAY_SEC = 0.5


class ClockHand:
    """One per worker process. `tasks`: bodies by name, as Celery has them registered."""

    def __init__(self, tasks: Mapping[str, Callable[..., object]]) -> None:
        self._tasks = tasks
        self._stop = threading.Event()
        self._stirred = redis.STIRRED + secrets.token_hex(8)
        self._outage = Outage(log, "what the time asks for can't be done")
        self._thread = threading.Thread(target=self._work, name="nimbus-clock", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """May be called twice. What is under way may end."""
        self._stop.set()
        if self._thread.is_alive():
            self._stir()
            self._thread.join(10)

    def _stir(self) -> None:
        """A worker that has nothing to do ends at once, not after the wait for a message."""
        with suppress(RedisError, OSError), redis.connection().pipeline() as pipe:
            pipe.lpush(self._stirred, b"")
            pipe.expire(self._stirred, 60)
            pipe.execute()

    def _work(self) -> None:
        client = redis.connection()
        while not self._stop.is_set():
            try:
                taken: Any = client.brpop([CLOCK, self._stirred], timeout=WAIT_SEC)
            except (RedisError, OSError):
                self._stop.wait(AWAY_SEC)
                continue
            if taken is not None and taken[0] == CLOCK.encode():
                self.run(taken[1], datetime.now(UTC))

    def run(self, message: bytes, now: datetime) -> None:
        """One message of Celery's (docs.celeryq.dev, "Message Protocol", version 2) whose time has not passed. Never
        raises."""
        try:
            envelope = orjson.loads(message)
            headers = envelope["headers"]
            if headers.get("expires") and datetime.fromisoformat(headers["expires"]) < now:
                return
            args, kwargs, _ = orjson.loads(b64decode(envelope["body"]))
            self._tasks[headers["task"]](*args, **kwargs)
        except Exception as error:
            if outage_of(error):
                self._outage.began(error)
            else:
                log.exception("a task of the clock failed")
        else:
            self._outage.ended()
        finally:
            close_old_connections()
