"""Takers: this worker's threads for one kind of queued work, and the look-out that finds it.

A thread that has nothing to do waits until the rota has a turn. What tells the rota that there are rows: a message
(`wake`), and the look-out, which asks the database now and then. So a lost message, a Redis that is away, a back-off
that has run out or a worker that died costs a second, nothing else, and beat has no part in it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from uuid import UUID

from django.db import close_old_connections
from django.utils import timezone

from invocations.backlog import FIRST
from nimbus_project.core.outage import Outage
from nimbus_project.core.unforeseen import outage_of
from workers.rota import Rota, Turn

log = logging.getLogger("nimbus.takers")

LOOK_IDLE_SEC = 1.0
LOOK_BUSY_SEC = 0.25
LOOK_AT = 200
"""Functions of one look; the next look begins behind them."""
_PUT_OFF_SEC = {"at limit": 0.25, "failed": 1.0}


class Took(Enum):
    """What came of a turn."""

    ONE = "one"
    NONE = "none"
    AT_LIMIT = "at limit"
    """There are rows, but the function must not run more at once."""
    FAILED = "failed"


Waiting = Callable[[UUID, int], list[tuple[UUID, datetime]]]
"""Functions with rows behind this id, at most so many, and when each one's first is due. Raises DatabaseError."""
TakeOne = Callable[[str], Took]
"""Take a row of this function and do the work. Raises DatabaseError, RedisError when they are away."""


class Takers:
    """`size` threads and a look-out."""

    def __init__(self, name: str, size: int, waiting: Waiting, take_one: TakeOne) -> None:
        self._name = name
        self._rota = Rota(size)
        self._changed = threading.Condition()
        self._waiting = waiting
        self._take_one = take_one
        self._stopping = threading.Event()
        self._after = FIRST
        self._untaken = Outage(log, f"{name} can't be taken")
        self._unseen = Outage(log, f"nobody knows which {name} wait")
        self._threads = [
            threading.Thread(target=self._take_on, name=f"nimbus-{name}-{number}", daemon=True)
            for number in range(size)
        ]
        self._lookout = threading.Thread(target=self._look_out, name=f"nimbus-{name}-lookout", daemon=True)

    def start(self) -> None:
        for thread in (*self._threads, self._lookout):
            thread.start()

    def stop(self) -> None:
        """No further rows are taken. Those under way go on; `join` waits for them."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()

    def join(self, timeout_sec: float) -> None:
        until = time.monotonic() + timeout_sec
        for thread in (*self._threads, self._lookout):
            thread.join(max(0.0, until - time.monotonic()))

    def wake(self, function_id: str) -> None:
        """There may be rows of this function."""
        with self._changed:
            self._rota.note(function_id)
            self._changed.notify()

    def free_again(self, function_id: str) -> None:
        """A function that was at its limit is not any more."""
        with self._changed:
            self._rota.free_again(function_id)
            self._changed.notify()

    def _take_on(self) -> None:
        while not self._stopping.is_set():
            turn = self._next() or self._wait_for_turn()
            if turn is not None:
                self._end(turn, self._take(turn))

    def _next(self) -> Turn | None:
        with self._changed:
            now = time.monotonic()
            turn = self._rota.next(now)
            # One after the other the threads wake up for as long as there is something for them.
            if turn is not None and self._rota.has_turn(now):
                self._changed.notify()
            return turn

    def _wait_for_turn(self) -> Turn | None:
        """None: this worker stops."""
        # None is held while there is nothing to do.
        _let_go()
        with self._changed:
            self._changed.wait_for(lambda: self._stopping.is_set() or self._rota.has_turn(time.monotonic()))
        return None if self._stopping.is_set() else self._next()

    def _take(self, turn: Turn) -> Took:
        try:
            took = self._take_one(turn.subject)
        except Exception as error:
            # The thread goes on: without it the worker would have one place less, unseen.
            if outage_of(error):
                self._untaken.began(error)
            else:
                log.exception("queued work can't be done", extra={"kind": self._name, "function_id": turn.subject})
            _let_go()
            return Took.FAILED
        self._untaken.ended()
        return took

    def _end(self, turn: Turn, took: Took) -> None:
        with self._changed:
            if took is Took.ONE:
                self._rota.ended(turn)
            elif took is Took.NONE:
                self._rota.found_none(turn)
            else:
                self._rota.put_off(turn, time.monotonic() + _PUT_OFF_SEC[took.value])

    def _look_out(self) -> None:
        while not self._stopping.wait(LOOK_BUSY_SEC if self._is_busy() else LOOK_IDLE_SEC):
            self._look()

    def _is_busy(self) -> bool:
        with self._changed:
            return self._rota.free < self._rota.room

    def _look(self) -> None:
        try:
            found = self._waiting(self._after, LOOK_AT)
        except Exception as error:
            if outage_of(error):
                self._unseen.began(error)
            else:
                log.exception("nobody knows what waits", extra={"kind": self._name})
            return
        finally:
            _let_go()
        self._unseen.ended()
        self._after = found[-1][0] if len(found) == LOOK_AT else FIRST
        now = timezone.now()
        with self._changed:
            for function_id, due in found:
                if due <= now:
                    self._rota.note(str(function_id))
            if self._rota.has_turn(time.monotonic()):
                self._changed.notify()


def _let_go() -> None:
    """Give back this thread's connection, a broken one too. Never raises: without its thread the worker would have one
    place less, or its look-out no more, unseen."""
    try:
        close_old_connections()
    except Exception:
        log.exception("a connection can't be given back")
