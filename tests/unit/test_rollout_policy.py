"""What a rollout does next: a table of situations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from functions.rollout_policy import (
    Advance,
    Complete,
    Plan,
    Return,
    Stats,
    Wait,
    decide,
    stats_of,
    steps_problem,
)

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
SOON, DUE = BEGAN + timedelta(seconds=59), BEGAN + timedelta(seconds=60)
LAST = {"step": 3}


def plan(**changes: Any) -> Plan:
    values: dict[str, Any] = {
        "steps": (5, 25, 50, 100),
        "step": 0,
        "step_began_at": BEGAN,
        "interval_sec": 60,
        "max_error_rate": 0.05,
        "max_p95_ms": 200.0,
        "min_samples": 20,
    }
    return Plan(**values | changes)


def runs(count: int, failures: int = 0, p95_ms: float = 10.0) -> Stats:
    return Stats(runs=count, failures=failures, p95_ms=p95_ms if count else None)


@pytest.mark.parametrize(
    ("changes", "new", "old", "now", "kind", "says"),
    [
        # Too little to judge: whatever was seen, however long it took.
        ({}, runs(0), runs(0), DUE, Wait, "0 of 20"),
        ({}, runs(19, 19), runs(500), DUE, Wait, "19 of 20"),
        (LAST, runs(19), runs(0), DUE, Wait, "19 of 20"),
        # Well: not before its time, then on, and out at the end.
        ({}, runs(20), runs(380), SOON, Wait, "lasts until"),
        ({}, runs(20), runs(380), DUE, Advance, "20 runs"),
        ({"step": 2}, runs(20), runs(20), DUE, Advance, "20 runs"),
        (LAST, runs(20), runs(0), SOON, Wait, "lasts until"),
        (LAST, runs(20), runs(0), DUE, Complete, "20 runs"),
        ({"steps": (100,)}, runs(20), runs(0), DUE, Complete, "20 runs"),
        # Errors: as many as allowed are allowed; one more goes back at once, in any step.
        ({}, runs(20, 1), runs(380), DUE, Advance, "5.0 %"),
        ({}, runs(20, 2), runs(380), DUE, Return, "2 of 20"),
        ({}, runs(20, 2), runs(380), SOON, Return, "10.0 %"),
        (LAST, runs(20, 2), runs(0), SOON, Return, "2 of 20"),
        ({"max_error_rate": 0.0}, runs(20, 1), runs(380), SOON, Return, "0.0 %"),
        ({"max_error_rate": None}, runs(20, 20), runs(380), DUE, Advance, "100.0 %"),
        # The old version does no better: neither back nor on. It must have been measured, and be no better at all.
        ({}, runs(20, 6), runs(400, 120), DUE, Wait, "no better"),
        ({}, runs(20, 6), runs(400, 160), DUE, Wait, "no better"),
        ({}, runs(20, 6), runs(400, 119), DUE, Return, "6 of 20"),
        ({}, runs(20, 6), runs(19, 19), DUE, Return, "6 of 20"),
        # Latency, by the same rules.
        ({}, runs(20, 0, 200.0), runs(380), DUE, Advance, "200.0 ms"),
        ({}, runs(20, 0, 200.1), runs(380), SOON, Return, "p95"),
        ({}, runs(20, 0, 900.0), runs(380, 0, 900.0), DUE, Wait, "no faster"),
        ({}, runs(20, 0, 900.0), runs(19, 0, 900.0), DUE, Return, "p95"),
        ({}, runs(20, 0, 900.0), runs(0), DUE, Return, "unknown"),
        ({"max_p95_ms": None}, runs(20, 0, 9e9), runs(380), DUE, Advance, "20 runs"),
        # Both old versions bad in errors, but the new one alone slow: errors are looked at first.
        ({}, runs(20, 6, 900.0), runs(400, 160), DUE, Wait, "no better"),
    ],
)
def test_decisions(changes: dict[str, Any], new: Stats, old: Stats, now: datetime, kind: type, says: str) -> None:
    decision = decide(plan(**changes), new, old, now)
    assert type(decision) is kind
    assert says in decision.reason


@pytest.mark.parametrize(
    ("durations", "p95"),
    [([7.0], 7.0), (list(range(1, 21)), 19), (list(range(1, 101)), 95), (list(range(100, 0, -1)), 95)],
)
def test_p95_is_the_nearest_rank(durations: list[float], p95: float) -> None:
    assert stats_of([(True, duration) for duration in durations]).p95_ms == p95


def test_stats_count_failures() -> None:
    stats = stats_of([(True, 1.0), (False, 2.0), (False, 3.0), (True, 4.0)])
    assert (stats.runs, stats.failures, stats.error_rate) == (4, 2, 0.5)
    assert stats_of([]) == Stats(runs=0, failures=0, p95_ms=None)
    assert Stats().error_rate == 0.0


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([100], ""),
        ([5, 25, 50, 100], ""),
        ([], "at least one"),
        ([5, 50], "last step"),
        ([50, 50, 100], "larger"),
        ([50, 25, 100], "larger"),
        ([0, 100], "from 1 to 100"),
        ([50, 101], "from 1 to 100"),
        ([True, 100], "integer"),
        ([5.5, 100], "integer"),
    ],
)
def test_steps_are_told_which_rule_they_break(steps: list[Any], says: str) -> None:
    problem = steps_problem(steps)
    assert says in problem and bool(problem) == bool(says)
