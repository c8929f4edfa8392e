"""Whether and when a try is repeated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invocations.outcome import ErrorType, Fault, Outcome, Status
from invocations.retry import BASE_SEC, MAX_LOST_WORKERS, MAX_SEC, Decision, GaveUp, Tries, backoff_sec, decide

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
IN_AN_HOUR = NOW + timedelta(hours=1)
GOOD = Outcome(status=Status.SUCCESS)
CANCELLED = Outcome(status=Status.CANCELLED, fault=Fault.CALLER)
FAILED = Outcome(status=Status.FAILED, fault=Fault.FUNCTION)
CRASHED = Outcome(status=Status.FAILED, fault=Fault.FUNCTION, error_type=ErrorType.PROCESS_CRASHED)
TIMEOUT = Outcome(status=Status.TIMEOUT, fault=Fault.FUNCTION)
DELETED = Outcome(status=Status.FAILED, fault=Fault.CALLER, error_type=ErrorType.FUNCTION_DELETED)
WORKER_LOST = Outcome(status=Status.FAILED, fault=Fault.PLATFORM, error_type=ErrorType.WORKER_LOST)
STOPPED = Outcome(status=Status.FAILED, fault=Fault.PLATFORM, error_type=ErrorType.WORKER_STOPPED)
NO_SANDBOX = Outcome(status=Status.FAILED, fault=Fault.PLATFORM, error_type=ErrorType.SANDBOX_UNAVAILABLE)


def tries(
    attempt: int, *, lost: int = 0, workers: int = 0, allowed: int = 3, expires_at: datetime | None = IN_AN_HOUR
) -> Tries:
    return Tries(attempt=attempt, lost=lost, workers_lost=workers, max_attempts=allowed, expires_at=expires_at)


def shown(outcome: Outcome, so_far: Tries, jitter: float = 1.0) -> float | GaveUp | None:
    """Seconds until the next try, or why there is none, or None for what needs none."""
    decision = decide(outcome, so_far, NOW, jitter)
    if decision is None:
        return None
    assert (decision.again_at is None) != (decision.gave_up is None)
    return decision.gave_up if decision.again_at is None else (decision.again_at - NOW).total_seconds()


@pytest.mark.parametrize(
    ("failures", "jitter", "expected"),
    [
        (1, 0.0, 0.5),
        (1, 1.0, 1.0),
        (2, 1.0, 2.0),
        (3, 0.5, 3.0),
        (9, 1.0, 256.0),
        (10, 1.0, MAX_SEC),
        (10_000, 0.0, MAX_SEC / 2),  # no overflow on the way
    ],
)
def test_back_off_doubles_up_to_its_bound(failures: int, jitter: float, expected: float) -> None:
    assert backoff_sec(failures, jitter) == expected


@given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_back_off_stays_within_half_and_whole(failures: int, jitter: float) -> None:
    whole = min(MAX_SEC, BASE_SEC * 2.0 ** min(failures - 1, 16))
    assert whole / 2 <= backoff_sec(failures, jitter) <= whole


@pytest.mark.parametrize(
    ("outcome", "so_far", "expected"),
    [
        (GOOD, tries(1), None),
        (CANCELLED, tries(1), None),
        (DELETED, tries(1), GaveUp.FUNCTION_DELETED),
        (FAILED, tries(1), 1.0),
        (CRASHED, tries(1), 1.0),
        (TIMEOUT, tries(2), 2.0),
        (FAILED, tries(3), GaveUp.RETRIES_EXHAUSTED),
        (CRASHED, tries(3), GaveUp.RETRIES_EXHAUSTED),  # a poison event is over like any other
        (FAILED, tries(1, allowed=1), GaveUp.RETRIES_EXHAUSTED),
        (FAILED, tries(4, lost=2), 2.0),  # lost tries are not the function's
        (FAILED, tries(5, lost=2), GaveUp.RETRIES_EXHAUSTED),
        (NO_SANDBOX, tries(1, allowed=1), 1.0),  # nor do they use up its only one
        (NO_SANDBOX, tries(5, lost=4), 16.0),
        (NO_SANDBOX, tries(40, lost=39), MAX_SEC),  # for as long as the event may be old
        (STOPPED, tries(40, lost=39), MAX_SEC),
        (WORKER_LOST, tries(1), 0.0),
        (WORKER_LOST, tries(40, lost=39, workers=MAX_LOST_WORKERS - 1), 0.0),
        (WORKER_LOST, tries(6, lost=5, workers=MAX_LOST_WORKERS), GaveUp.WORKERS_LOST),
        (NO_SANDBOX, tries(6, lost=5, expires_at=None), GaveUp.WORKERS_LOST),  # bounded without an age too
    ],
)
def test_what_is_tried_again_and_when(outcome: Outcome, so_far: Tries, expected: float | GaveUp | None) -> None:
    assert shown(outcome, so_far) == expected


@pytest.mark.parametrize("outcome", [FAILED, NO_SANDBOX])
@pytest.mark.parametrize(
    ("room_sec", "expected"),
    [(1.0, 1.0), (0.999, GaveUp.EVENT_AGE_EXCEEDED), (-1.0, GaveUp.EVENT_AGE_EXCEEDED)],
)
def test_nothing_is_tried_past_the_age_of_the_event(
    outcome: Outcome, room_sec: float, expected: float | GaveUp
) -> None:
    assert shown(outcome, tries(1, expires_at=NOW + timedelta(seconds=room_sec))) == expected


@given(
    st.sampled_from([FAILED, CRASHED, TIMEOUT, WORKER_LOST, STOPPED, NO_SANDBOX]),
    st.integers(1, 11),
    st.floats(0, 1, exclude_max=True),
)
def test_every_invocation_comes_to_an_end(outcome: Outcome, allowed: int, jitter: float) -> None:
    attempt = lost = workers = 0
    now, decision = NOW, Decision(again_at=NOW)
    while decision is not None and decision.again_at is not None:
        attempt, now = attempt + 1, decision.again_at
        so_far = tries(attempt, lost=lost, workers=workers, allowed=allowed)
        decision = decide(outcome, so_far, now, jitter)
        lost += outcome.fault is Fault.PLATFORM
        workers += outcome is WORKER_LOST
        assert attempt < 200
