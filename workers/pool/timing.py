"""What the pool has learnt: how long things take, and which runtimes do not boot."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

WEIGHT = 0.2
"""Of the newest sample in a decaying mean: five runs and a change is seen."""
REMEMBERED = 4096
"""Means kept; the one longest without a sample goes."""
FIRST_RETRY_SEC = 1.0
LONGEST_RETRY_SEC = 60.0


class Means(Generic[K]):
    """A decaying mean per key."""

    def __init__(self, unknown: float) -> None:
        self._unknown = unknown
        self._means: dict[K, float] = {}

    def add(self, key: K, sample: float) -> None:
        """Count one more sample."""
        old = self._means.pop(key, None)
        # Popped and put back: the dict's order is then the order of the latest sample.
        self._means[key] = sample if old is None else old + WEIGHT * (sample - old)
        if len(self._means) > REMEMBERED:
            del self._means[next(iter(self._means))]

    def of(self, key: K) -> float:
        """The mean, or what stands for the unknown."""
        return self._means.get(key, self._unknown)


class Streaks(Generic[K]):
    """How long something has been so without a break."""

    def __init__(self) -> None:
        self._since: dict[K, float] = {}

    def of(self, key: K, now: float) -> float:
        """Seconds; it begins now if it had not begun."""
        return now - self._since.setdefault(key, now)

    def again(self, key: K, now: float) -> None:
        """Count from now on."""
        self._since[key] = now

    def end(self, key: K) -> None:
        """It is so no more."""
        self._since.pop(key, None)


@dataclass(slots=True)
class _Trouble:
    cause: str
    failures: int
    retry_at: float


class Backoff:
    """Runtimes whose boots fail, and when to try them again."""

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] = {}

    def failed(self, runtime: str, cause: str, now: float) -> bool:
        """Note a failure; the next try is twice as far off. True when the cause is new, and so worth a log line."""
        trouble = self._troubles.setdefault(runtime, _Trouble("", 0, now))
        is_new = trouble.cause != cause
        delay = min(LONGEST_RETRY_SEC, FIRST_RETRY_SEC * 2.0 ** min(trouble.failures, 16))
        trouble.cause, trouble.failures, trouble.retry_at = cause, trouble.failures + 1, now + delay
        return is_new

    def worked(self, runtime: str) -> bool:
        """Note a success. True when the runtime was in trouble."""
        return self._troubles.pop(runtime, None) is not None

    def waits(self, runtime: str, now: float) -> bool:
        """Whether it is too early for another try."""
        trouble = self._troubles.get(runtime)
        return trouble is not None and now < trouble.retry_at
