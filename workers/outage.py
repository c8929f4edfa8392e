"""An outage, told when it begins and when it is over: not once for each thing that could not be done meanwhile."""

from __future__ import annotations

import logging
import threading
import time

TOLD_EVERY_SEC = 30.0


class Outage:
    """Thread-safe. `what` says what can't be done."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self._lock = threading.Lock()
        self._is_told = False
        self._told_at = -TOLD_EVERY_SEC
        self._since = 0.0
        self._times = 0

    def began(self, error: BaseException) -> None:
        """It could not be done (again)."""
        now = time.monotonic()
        with self._lock:
            self._since = self._since or now
            self._times += 1
            if now - self._told_at < TOLD_EVERY_SEC:
                return
            self._is_told, self._told_at, times = True, now, self._times
        reason = f"{type(error).__name__}: {str(error).strip()}"[:300]
        self._log.warning(self._what, extra={"reason": reason, "times": times})

    def ended(self) -> None:
        """It could be done."""
        if not self._since:
            return
        with self._lock:
            was_told, lasted_sec, times = self._is_told, time.monotonic() - self._since, self._times
            self._is_told, self._since, self._times = False, 0.0, 0
        if was_told:
            self._log.warning(f"over: {self._what}", extra={"lasted_sec": round(lasted_sec, 1), "times": times})
