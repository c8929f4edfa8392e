"""Counting finished runs into the metrics. Children of labels are kept: to look one up costs more than to count."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import Counter, Histogram

from invocations.outcome import Outcome, StartKind
from nimbus_project.core import metrics


def count(function: str, runtime: str, start: StartKind | None, outcome: Outcome) -> None:
    """One finished run; `start` is None when no sandbox had it."""
    _invocations(function, runtime, outcome.status).inc()
    if not outcome.ok:
        metrics.ERRORS.labels(function, outcome.error_type).inc()
    if start is None:
        return
    cold = start is StartKind.COLD
    _duration(function, runtime, cold).observe(outcome.duration_ms)
    if cold:
        metrics.COLD_STARTS.labels(function, runtime).inc()
    elif start is StartKind.WARM:
        _warm_starts(function, runtime).inc()


@lru_cache(maxsize=4096)
def _invocations(function: str, runtime: str, status: str) -> Counter:
    return metrics.INVOCATIONS.labels(function, runtime, status)


@lru_cache(maxsize=4096)
def _duration(function: str, runtime: str, cold: bool) -> Histogram:
    return metrics.DURATION.labels(function, runtime, str(cold).lower())


@lru_cache(maxsize=4096)
def _warm_starts(function: str, runtime: str) -> Counter:
    return metrics.WARM_STARTS.labels(function, runtime)
