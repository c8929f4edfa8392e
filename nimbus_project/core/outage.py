"""An outage, told when it begins and when it is over: not once for each thing that could not be done meanwhile."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable

TOLD_EVERY_SEC = 30.0
_MANY = 20
"""Different things that one outage keeps apart."""


class Outage:
    """Thread-safe. `what` says what can't be done. `forgotten_sec`: one that is not met again for so long is over,
    unseen; for those of which nobody may see the end."""

    def __init__(
        self,
        log: logging.Logger,
        what: str,
        clock: Callable[[], float] = time.monotonic,
        *,
        forgotten_sec: float = math.inf,
    ) -> None:
        self._log = log
        self._what = what
        self._clock = clock
        self._forgotten_sec = forgotten_sec
        self._lock = threading.Lock()
        self._is_told = False
        self._told_at: float | None = None
        self._since: float | None = None
        self._met_at = 0.0
        self._times = 0
        self._by: Counter[str] = Counter()

    def began(self, error: BaseException, by: str = "") -> None:
        """It could not be done (again). `by`: what met it, where that may be several things."""
        now = self._clock()
        with self._lock:
            if now - self._met_at > self._forgotten_sec:
                self._reset()
            self._since = now if self._since is None else self._since
            self._met_at = now
            self._times += 1
            if by and (by in self._by or len(self._by) < _MANY):
                self._by[by] += 1
            if self._told_at is not None and now - self._told_at < TOLD_EVERY_SEC:
                return
            self._is_told, self._told_at, counts = True, now, self._counts()
        reason = f"{type(error).__name__}: {str(error).strip()}"[:300]
        self._log.warning(self._what, extra={"reason": reason, **counts})

    def ended(self) -> None:
        """It could be done."""
        # Without the lock, for this is on the way of all that succeeds.
        if self._since is None:
            return
        with self._lock:
            since, was_told, counts = self._since, self._is_told, self._counts()
            self._reset()
        if was_told and since is not None:
            lasted_sec = self._clock() - since
            self._log.warning(f"over: {self._what}", extra={"lasted_sec": round(lasted_sec, 1), **counts})

    def _counts(self) -> dict[str, object]:
        return {"times": self._times} | ({"by": dict(self._by)} if self._by else {})

    def _reset(self) -> None:
        self._is_told, self._since, self._times = False, None, 0
        self._by.clear()
