"""Counts that are written behind are those of counting each run at once."""

from __future__ import annotations

from prometheus_client import REGISTRY

from invocations.outcome import Outcome, StartKind, Status
from workers.tally import Tally, count

RUNS = [
    (StartKind.COLD, Outcome(status=Status.SUCCESS, duration_ms=0.0)),
    (StartKind.WARM, Outcome(status=Status.SUCCESS, duration_ms=1.0)),
    (StartKind.WARM, Outcome(status=Status.SUCCESS, duration_ms=1.5)),
    (StartKind.WARM, Outcome(status=Status.FAILED, error_type="KeyError", duration_ms=7.25)),
    (StartKind.WARM, Outcome(status=Status.FAILED, error_type="ValueError", duration_ms=2.0)),
    (StartKind.PREWARMED, Outcome(status=Status.TIMEOUT, error_type="Timeout", duration_ms=9e9)),
    (None, Outcome(status=Status.FAILED, error_type="SandboxUnavailable")),
]


def told(function: str) -> dict[tuple[str, ...], float]:
    """What the metrics say of it."""
    return {
        (sample.name, *sorted(f"{name}={value}" for name, value in sample.labels.items() if name != "function")): (
            sample.value
        )
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.labels.get("function") == function and not sample.name.endswith("_created")
    }


def test_many_at_a_time_count_as_one_by_one() -> None:
    tally = Tally()
    for start, outcome in RUNS:
        count("tally-at-once", "python3.11", start, outcome)
        tally.add("tally-behind", "python3.11", start, outcome)
    at_once = told("tally-at-once")
    assert told("tally-behind") == {}
    tally.write()
    tally.write()
    assert told("tally-behind") == at_once
    runtime = "runtime=python3.11"
    assert at_once["nimbus_invocations_total", runtime, "status=success"] == 3
    assert at_once["nimbus_invocation_errors_total", "error_type=KeyError"] == 1
    assert at_once["nimbus_cold_starts_total", runtime] == 1
    assert at_once["nimbus_warm_starts_total", runtime] == 4
    assert at_once["nimbus_invocation_duration_ms_bucket", "cold_start=false", "le=1.0", runtime] == 1
    assert at_once["nimbus_invocation_duration_ms_bucket", "cold_start=false", "le=2.0", runtime] == 3
    assert at_once["nimbus_invocation_duration_ms_count", "cold_start=false", runtime] == 5
    assert at_once["nimbus_invocation_duration_ms_sum", "cold_start=false", runtime] == 9e9 + 11.75
