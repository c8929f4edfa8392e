"""A few threads for what takes long: boots and burials."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger("nimbus.pool")

Job = Callable[[], None]


class Crew(Protocol):
    """Does jobs, in order, on threads of its own."""

    def submit(self, job: Job) -> None: ...

    def close(self, timeout_sec: float) -> None: ...


class Threads:
    """`size` daemon threads, so that a boot that hangs cannot keep the process from ending."""

    def __init__(self, name: str, size: int) -> None:
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"nimbus-pool-{name}-{i}", daemon=True) for i in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job. Once closed it is done here and now: a sandbox given back late is still destroyed."""
        with self._lock:
            closed = self._closed
            if not closed:
                self._jobs.put(job)
        if closed:
            _do(job)

    def close(self, timeout_sec: float) -> None:
        """Finish what is queued, for so long at most."""
        with self._lock:
            if not self._closed:
                self._closed = True
                for _ in self._threads:
                    self._jobs.put(None)
        deadline = time.monotonic() + timeout_sec
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            _do(job)


def _do(job: Job) -> None:
    try:
        job()
    except Exception:
        log.exception("a background job of the pool failed")
