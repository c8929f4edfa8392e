"""Log lines of running invocations on their way to whoever watches: collected per run, shipped ten times a second.

A run that ends sooner ships nothing: its lines travel with its record.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import orjson
from redis import Redis
from redis.exceptions import RedisError

from invocations import slots
from invocations.outcome import LogLine
from nimbus_project.core.outage import Outage
from nimbus_project.core.redis import LINES, LOGS

log = logging.getLogger("nimbus.logship")

SHIP_EVERY_SEC = 0.1
ENDED_AT_ONCE = 100
KEPT_SEC = 900
"""Live lines of a run whose worker died disappear after this."""


class RunLog:
    """The lines of one run. Appending is all the invoking thread does."""

    __slots__ = ("_note", "function_id", "invocation_id", "lines", "shipped")

    def __init__(self, invocation_id: str, function_id: str, note: Callable[[RunLog], None]) -> None:
        self.invocation_id = invocation_id
        self.function_id = function_id
        self.lines: list[LogLine] = []
        self.shipped = 0
        self._note = note

    def __call__(self, line: LogLine) -> None:
        self.lines.append(line)
        self._note(self)

    def rest(self) -> list[tuple[int, str, str]]:
        """What has not been shipped yet."""
        return [(line.at_ms, line.stream, line.text) for line in self.lines[self.shipped :]]


def message(run: RunLog, status: str = "") -> bytes:
    """What goes over the channel of the function (see invocations/live.py)."""
    news: dict[str, object] = {"id": run.invocation_id, "seq": run.shipped, "lines": run.rest()}
    return orjson.dumps(news | ({"status": status} if status else {}))


class LogShipper:
    """One thread per worker."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._dirty: dict[str, RunLog] = {}
        self._ended: deque[tuple[RunLog, str, str]] = deque()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._unshipped = Outage(log, "live logs can't be shipped: Redis is away")
        self._thread = threading.Thread(target=self._work, name="nimbus-logship", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join(5)

    def open(self, invocation_id: str, function_id: str) -> RunLog:
        return RunLog(invocation_id, function_id, self._note)

    def end(self, pipeline: Redis, run: RunLog, status: str, *, always: bool) -> None:
        """Add the last of a run to a pipeline: its remaining lines and how it ended."""
        with self._lock:
            self._dirty.pop(run.invocation_id, None)
            if run.shipped:
                pipeline.delete(LINES + run.invocation_id)
            if run.lines or always:
                pipeline.publish(LOGS + run.function_id, message(run, status))

    def end_later(self, run: RunLog, status: str, slot_of: str) -> None:
        """`end` for who must not wait for Redis; also gives back the run's slot of `slot_of`, if that is not empty."""
        self._ended.append((run, status, slot_of))
        self._wake.set()

    def _note(self, run: RunLog) -> None:
        self._dirty[run.invocation_id] = run

    def _work(self) -> None:
        shipped_at = 0.0
        while not self._stop.is_set():
            self._wake.wait(SHIP_EVERY_SEC)
            self._wake.clear()
            try:
                self._end_some()
                if self._dirty and time.monotonic() - shipped_at >= SHIP_EVERY_SEC:
                    shipped_at = time.monotonic()
                    self._ship()
            except RedisError as error:
                self._unshipped.began(error)
            except Exception:
                # Without this thread nobody would hear of a run any more.
                log.exception("live logs could not be shipped")
            else:
                self._unshipped.ended()

    def _end_some(self) -> None:
        while self._ended:
            pipeline = self._client.pipeline(transaction=False)
            for _ in range(min(len(self._ended), ENDED_AT_ONCE)):
                run, status, slot_of = self._ended.popleft()
                self.end(pipeline, run, status, always=False)
                if slot_of:
                    pipeline.zrem(slots.key(slot_of), run.invocation_id)
            pipeline.execute()

    def _ship(self) -> None:
        # Under the lock, so that no lines arrive after the run's end was announced.
        with self._lock:
            runs, self._dirty = self._dirty, {}
            pipeline = self._client.pipeline(transaction=False)
            for run in runs.values():
                lines = run.rest()
                if not lines:
                    continue
                pipeline.rpush(LINES + run.invocation_id, *[orjson.dumps(line) for line in lines])
                pipeline.expire(LINES + run.invocation_id, KEPT_SEC)
                pipeline.publish(LOGS + run.function_id, message(run))
                run.shipped += len(lines)
            pipeline.execute()
