"""Counting finished runs into the metrics. Children of labels are kept: to look one up costs more than to count."""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from typing import Final

from prometheus_client import Counter, Histogram

from invocations.outcome import Outcome, StartKind, Status
from nimbus_project.core import metrics

_BOUNDS: Final = tuple(metrics.DURATION._upper_bounds)


class _Runs:
    """Several that are alike."""

    __slots__ = ("buckets", "count", "sum_ms")

    def __init__(self) -> None:
        self.count = 0
        self.sum_ms = 0.0
        self.buckets = [0] * len(_BOUNDS)

    def add(self, duration_ms: float) -> None:
        self.count += 1
        self.sum_ms += duration_ms
        self.buckets[bisect_left(_BOUNDS, duration_ms)] += 1


_Kind = tuple[str, str, StartKind | None, str, str]
"""Function, runtime, start (None when no sandbox had it), status, type of the error."""


class Tally:
    """Counts in memory until `write`: the metrics of the worker are shared files, and the four values of one run that
    have to be looked up and packed there cost a tenth of a whole warm call. One thread's alone."""

    def __init__(self) -> None:
        self._runs: dict[_Kind, _Runs] = {}

    def add(self, function: str, runtime: str, start: StartKind | None, outcome: Outcome) -> None:
        """One finished run."""
        kind = (function, runtime, start, outcome.status, outcome.error_type)
        runs = self._runs.get(kind)
        if runs is None:
            runs = self._runs[kind] = _Runs()
        runs.add(outcome.duration_ms)

    def write(self) -> None:
        """Into the metrics, all that was added since the last time."""
        added, self._runs = self._runs, {}
        for kind, runs in added.items():
            _write(kind, runs)


def count(function: str, runtime: str, start: StartKind | None, outcome: Outcome) -> None:
    """One finished run, at once and from any thread; `start` is None when no sandbox had it."""
    tally = Tally()
    tally.add(function, runtime, start, outcome)
    tally.write()


def _write(kind: _Kind, runs: _Runs) -> None:
    function, runtime, start, status, error_type = kind
    _invocations(function, runtime, status).inc(runs.count)
    if status != Status.SUCCESS:
        metrics.ERRORS.labels(function, error_type).inc(runs.count)
    if start is None:
        return
    cold = start is StartKind.COLD
    _observe(_duration(function, runtime, cold), runs)
    if cold:
        metrics.COLD_STARTS.labels(function, runtime).inc(runs.count)
    elif start is StartKind.WARM:
        _warm_starts(function, runtime).inc(runs.count)


def _observe(histogram: Histogram, runs: _Runs) -> None:
    """What `Histogram.observe` does for one value; the library has no call for several."""
    histogram._sum.inc(runs.sum_ms)
    for bucket, count in zip(histogram._buckets, runs.buckets, strict=True):
        if count:
            bucket.inc(count)


@lru_cache(maxsize=4096)
def _invocations(function: str, runtime: str, status: str) -> Counter:
    return metrics.INVOCATIONS.labels(function, runtime, status)


@lru_cache(maxsize=4096)
def _duration(function: str, runtime: str, cold: bool) -> Histogram:
    return metrics.DURATION.labels(function, runtime, str(cold).lower())


@lru_cache(maxsize=4096)
def _warm_starts(function: str, runtime: str) -> Counter:
    return metrics.WARM_STARTS.labels(function, runtime)
