"""Whether and when a try is repeated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invocations.outcome import Fault, Outcome, Status
from invocations.retry import BASE_SEC, MAX_LOST_ATTEMPTS, MAX_SEC, Tries, backoff_sec, next_attempt_at

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
FUNCTION, PLATFORM, CALLER = Fault.FUNCTION, Fault.PLATFORM, Fault.CALLER


def tries(attempt: int, *, lost: int = 0, allowed: int = 3, expires_at: datetime | None = None) -> Tries:
    return Tries(attempt=attempt, lost=lost, max_attempts=allowed, expires_at=expires_at)


def seconds_until_next(status: Status, fault: Fault | None, so_far: Tries, jitter: float = 1.0) -> float | None:
    at = next_attempt_at(Outcome(status=status, fault=fault), so_far, NOW, jitter)
    return None if at is None else (at - NOW).total_seconds()


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
    ("status", "fault", "so_far", "expected"),
    [
        (Status.SUCCESS, None, tries(1), None),
        (Status.CANCELLED, CALLER, tries(1), None),
        (Status.FAILED, CALLER, tries(1), None),  # a deleted function does not come back
        (Status.FAILED, FUNCTION, tries(1), 1.0),
        (Status.TIMEOUT, FUNCTION, tries(2), 2.0),
        (Status.FAILED, FUNCTION, tries(3), None),  # all three used
        (Status.FAILED, FUNCTION, tries(1, allowed=1), None),
        (Status.FAILED, FUNCTION, tries(4, lost=2), 2.0),  # lost tries are not the function's
        (Status.FAILED, FUNCTION, tries(5, lost=2), None),
        (Status.FAILED, PLATFORM, tries(1, allowed=1), 1.0),  # nor do they use up its only one
        (Status.FAILED, PLATFORM, tries(5, lost=MAX_LOST_ATTEMPTS - 1), 16.0),
        (Status.FAILED, PLATFORM, tries(6, lost=MAX_LOST_ATTEMPTS), None),  # bounded all the same
    ],
)
def test_what_is_tried_again_and_when(
    status: Status, fault: Fault | None, so_far: Tries, expected: float | None
) -> None:
    assert seconds_until_next(status, fault, so_far) == expected


@pytest.mark.parametrize(("room_sec", "again"), [(1.0, True), (0.999, False), (-1.0, False)])
def test_nothing_is_tried_past_the_age_of_the_event(room_sec: float, again: bool) -> None:
    so_far = tries(1, expires_at=NOW + timedelta(seconds=room_sec))
    assert (seconds_until_next(Status.FAILED, FUNCTION, so_far) is not None) is again
