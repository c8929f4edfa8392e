"""Retry and Catch: which rule an error meets, how long it waits, and when all is given up."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.workflows.definitions import state_of
from workflows import retry_policy
from workflows.retry_policy import Again, Caught, GivenUp
from workflows.states import State

TIMEOUT = {"ErrorEquals": ["States.Timeout"], "IntervalSeconds": 3, "MaxAttempts": 2, "BackoffRate": 2.0}


def after(state: State, error: str, *tried: int, jitter: float = 0.5) -> Again | Caught | GivenUp:
    return retry_policy.after(state, error, tried, jitter)


def delays(error: str = "E", **retrier: Any) -> list[float]:
    state = state_of("Task", Retry=[{"ErrorEquals": ["States.ALL"], **retrier}])
    found = []
    while isinstance(again := after(state, error, len(found)), Again) and len(found) < 100:
        found.append(again.delay_sec)
    return found


@pytest.mark.parametrize(
    ("retrier", "found"),
    [
        # § "Retrying after error": the specification's own examples.
        (TIMEOUT, [3, 6]),
        ({**TIMEOUT, "MaxDelaySeconds": 4}, [3, 4]),
        ({}, [1, 2, 4]),
        ({"MaxAttempts": 0}, []),
        ({"BackoffRate": 1, "IntervalSeconds": 7, "MaxAttempts": 2}, [7, 7]),
        ({"BackoffRate": 1.5, "MaxAttempts": 2}, [1, 1.5]),
        ({"IntervalSeconds": 99_999_999, "MaxAttempts": 1}, [86_400]),
        ({"IntervalSeconds": 2, "MaxAttempts": 2, "JitterStrategy": "FULL"}, [1, 2]),
        ({"IntervalSeconds": 2, "MaxAttempts": 1, "JitterStrategy": "NONE"}, [2]),
        ({"IntervalSeconds": 9, "MaxAttempts": 1, "JitterStrategy": "FULL", "MaxDelaySeconds": 4}, [2]),
    ],
)
def test_delays(retrier: dict[str, Any], found: list[float]) -> None:
    assert delays("States.Timeout", **{**retrier, "ErrorEquals": ["States.Timeout"]}) == found


def test_no_rate_is_too_large() -> None:
    assert delays(BackoffRate=1e9, MaxAttempts=99_999_999)[-1] == 86_400


def test_the_example_of_complex_retries() -> None:
    """§ "Complex retry scenarios": ErrorA, ErrorB, ErrorC, and ErrorB again."""
    state = state_of(
        "Task",
        Retry=[
            {"ErrorEquals": ["ErrorA", "ErrorB"], "IntervalSeconds": 1, "BackoffRate": 2, "MaxAttempts": 2},
            {"ErrorEquals": ["ErrorC"], "IntervalSeconds": 5},
        ],
        Catch=[{"ErrorEquals": ["States.ALL"], "Next": "B"}],
    )
    assert after(state, "ErrorA") == Again(1, 0)
    assert after(state, "ErrorB", 1) == Again(2, 0)
    assert after(state, "ErrorC", 2) == Again(5, 1)
    assert after(state, "ErrorB", 2, 1) == Caught(state.catch[0])
    assert after(state, "ErrorD", 2, 1) == Caught(state.catch[0])


def test_the_first_rule_that_fits_is_the_one() -> None:
    state = state_of(
        "Task",
        Retry=[{"ErrorEquals": ["States.Timeout"], "MaxAttempts": 0}, {"ErrorEquals": ["States.ALL"]}],
        Catch=[{"ErrorEquals": ["E", "F"], "Next": "B"}, {"ErrorEquals": ["F"], "Next": "B", "ResultPath": None}],
    )
    assert after(state, "States.Timeout") == GivenUp()
    assert after(state, "E", 0, 2) == Again(4, 1)
    assert after(state, "F", 0, 3) == Caught(state.catch[0])
    assert after(state, "G", 0, 3) == GivenUp()


@pytest.mark.parametrize(
    ("name", "error", "is_retried", "is_caught"),
    [
        ("E", "E", True, True),
        ("E", "e", False, False),
        ("E", "E.F", False, False),
        ("States.ALL", "E", True, True),
        ("States.ALL", "", True, True),
        ("States.ALL", "States.Timeout", True, True),
        ("States.ALL", "States.NoChoiceMatched", True, True),
        ("States.TaskFailed", "E", True, True),
        ("States.TaskFailed", "States.Permissions", True, True),
        ("States.TaskFailed", "States.Timeout", False, False),
        ("States.ALL", "States.Runtime", False, False),
        ("States.TaskFailed", "States.Runtime", False, False),
        ("States.Runtime", "States.Runtime", False, False),
        ("States.ALL", "States.DataLimitExceeded", False, False),
        ("States.TaskFailed", "States.DataLimitExceeded", False, False),
        ("States.DataLimitExceeded", "States.DataLimitExceeded", False, True),
    ],
)
def test_names(name: str, error: str, is_retried: bool, is_caught: bool) -> None:
    rule = {"ErrorEquals": [name]}
    for kind in ("Task", "Parallel", "Map"):
        state = state_of(kind, Retry=[rule])
        assert after(state, error) == (Again(1, 0) if is_retried else GivenUp())
        state = state_of(kind, Catch=[{**rule, "Next": "B"}])
        assert after(state, error) == (Caught(state.catch[0]) if is_caught else GivenUp())
