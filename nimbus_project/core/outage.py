"""An outage, told when it begins and when it is over: not once for each thing that could not be done meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

TOLD_EVERY_SEC = 30.0


class Outage:
    """Thread-safe. `what` says what can't be done."""

    def __init__(self, log: logging.Logger, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._what = what
        self._clock = clock
        self._lock = threading.Lock()
        self._is_told = False
        self._told_at: float | None = None
        self._since: float | None = None
        self._times = 0

    def began(self, error: BaseException) -> None:
        """It could not be done (again)."""
        now = self._clock()
        with self._lock:
            self._since = now if self._since is None else self._since
            self._times += 1
            if self._told_at is not None and now - self._told_at < TOLD_EVERY_SEC:
                return
            self._is_told, self._told_at, times = True, now, self._times
        reason = f"{type(error).__name__}: {str(error).strip()}"[:300]
        self._log.warning(self._what, extra={"reason": reason, "times": times})

    def ended(self) -> None:
        """It could be done."""
        # Without the lock, for this is on the way of all that succeeds.
        if self._since is None:
            return
        with self._lock:
            since, was_told, times = self._since, self._is_told, self._times
            self._is_told, self._since, self._times = False, None, 0
        if was_told and since is not None:
            lasted_sec = self._clock() - since
            self._log.warning(f"over: {self._what}", extra={"lasted_sec": round(lasted_sec, 1), "times": times})
