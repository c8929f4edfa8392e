"""Try again, and when? Pure: clock and randomness come in as arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from invocations.outcome import ErrorType, Fault, Outcome, Status

BASE_SEC = 1.0
MAX_SEC = 300.0
MAX_LOST_WORKERS = 5
"""Workers that may die while they run it before an invocation is given up: it may be what kills them."""


class GaveUp(StrEnum):
    """Why there is no further try."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    EVENT_AGE_EXCEEDED = "event_age_exceeded"
    WORKERS_LOST = "workers_lost"
    FUNCTION_DELETED = "function_deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """What is known of an invocation when one of its tries has ended."""

    attempt: int
    """Tries begun, this one included."""
    lost: int
    """Those of them, without this one, that the platform lost, for whatever reason."""
    workers_lost: int
    """Those of them whose worker died."""
    max_attempts: int
    """Tries the function itself is allowed to fail."""
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Decision:
    """One of the two."""

    again_at: datetime | None = None
    gave_up: GaveUp | None = None


def backoff_sec(failures: int, jitter: float) -> float:
    """Seconds to wait after the n-th failure: 1, 2, 4, … 300, each spread to 50–100 % by `jitter` in [0, 1)
    ("equal jitter", so that a burst of failures does not come back as one)."""
    return min(MAX_SEC, BASE_SEC * 2.0 ** min(failures - 1, 16)) * (0.5 + jitter / 2)


def decide(outcome: Outcome, tries: Tries, now: datetime, jitter: float) -> Decision | None:
    """What follows a try that came to this. None when it succeeded or was cancelled: it is over, and all is well.

    What the platform could not do (no sandbox, a worker that stopped) says nothing of the function: it is repeated for
    as long as the event may be old. A worker that died is bounded besides."""
    if outcome.status not in {Status.FAILED, Status.TIMEOUT}:
        return None
    if outcome.fault is Fault.CALLER:
        return Decision(gave_up=GaveUp.FUNCTION_DELETED)
    by_platform = outcome.fault is Fault.PLATFORM
    lost = tries.lost + by_platform
    died = by_platform and outcome.error_type == ErrorType.WORKER_LOST
    if (tries.workers_lost + died) > MAX_LOST_WORKERS or (tries.expires_at is None and lost > MAX_LOST_WORKERS):
        return Decision(gave_up=GaveUp.WORKERS_LOST)
    failures = tries.attempt - lost
    if not by_platform and failures >= tries.max_attempts:
        return Decision(gave_up=GaveUp.RETRIES_EXHAUSTED)
    # A worker that died is no reason to wait: the back-off is for what may fail again at once.
    wait_sec = 0.0 if died else backoff_sec(lost if by_platform else failures, jitter)
    at = now + timedelta(seconds=wait_sec)
    if tries.expires_at is not None and at > tries.expires_at:
        return Decision(gave_up=GaveUp.EVENT_AGE_EXCEEDED)
    return Decision(again_at=at)
