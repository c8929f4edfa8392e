"""Try again, and when? Pure: clock and randomness come in as arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from invocations.outcome import Fault, Outcome, Status

BASE_SEC = 1.0
MAX_SEC = 300.0
MAX_LOST_ATTEMPTS = 5
"""Tries that may end with their worker (or for want of a sandbox) before the invocation is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """What is known of an invocation when one of its tries has ended."""

    attempt: int
    """Tries begun, this one included."""
    lost: int
    """Those of them, without this one, that the platform lost."""
    max_attempts: int
    """Tries the function itself is allowed to fail."""
    expires_at: datetime | None


def backoff_sec(failures: int, jitter: float) -> float:
    """Seconds to wait after the n-th failure: 1, 2, 4, … 300, each spread to 50–100 % by `jitter` in [0, 1)
    ("equal jitter", so that a burst of failures does not come back as one)."""
    return min(MAX_SEC, BASE_SEC * 2.0 ** min(failures - 1, 16)) * (0.5 + jitter / 2)


def next_attempt_at(outcome: Outcome, tries: Tries, now: datetime, jitter: float) -> datetime | None:
    """When to try again, or None when this outcome is the end."""
    if outcome.status not in {Status.FAILED, Status.TIMEOUT} or outcome.fault is Fault.CALLER:
        return None
    lost_now = outcome.fault is Fault.PLATFORM
    lost = tries.lost + lost_now
    own_failures = tries.attempt - lost
    if lost_now and lost > MAX_LOST_ATTEMPTS:
        return None
    if not lost_now and own_failures >= tries.max_attempts:
        return None
    at = now + timedelta(seconds=backoff_sec(lost if lost_now else own_failures, jitter))
    return None if tries.expires_at is not None and at > tries.expires_at else at
