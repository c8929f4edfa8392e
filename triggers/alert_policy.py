"""What an alert does next: decided from what was measured and what was told. Pure: the clock is an argument.

    ok ──> firing ──> resolved ──> firing ──> …

The state follows what is measured, also while the alert is silenced. What its channels are told follows the state and
is told once: they hear of it when what they last heard is not true any more and nobody has silenced it. So an alert
that fires says so once; one that began while it was silenced says so when that ends; one that came and went meanwhile
says nothing; one that was told and then ended while it was silenced is told to have ended afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    """What is measured."""

    ERROR_RATE = "error_rate"
    """Of the runs of the window, 0–1."""
    P95_MS = "p95_ms"
    """95th percentile of the handler's time."""
    COLD_START_RATE = "cold_start_rate"
    """Of the runs of the window, 0–1."""
    DEAD_LETTERS = "dead_letters"
    """New ones in the window."""
    QUEUE_AGE_SEC = "queue_age_sec"
    """How long the oldest queued invocation that is due has waited by now."""


RATES = frozenset({Kind.ERROR_RATE, Kind.COLD_START_RATE})
SAMPLED = frozenset({Kind.ERROR_RATE, Kind.P95_MS, Kind.COLD_START_RATE})
"""Those that mean nothing of a few runs."""


class State(StrEnum):
    OK = "ok"
    """Has never fired."""
    FIRING = "firing"
    RESOLVED = "resolved"
    """Has fired, and does no more."""


class Told(StrEnum):
    """What a channel hears."""

    FIRING = "firing"
    RESOLVED = "resolved"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Bound:
    kind: Kind
    threshold: float
    min_samples: int


@dataclass(frozen=True, slots=True)
class Measured:
    """`value` is None when there was nothing to measure."""

    value: float | None = None
    samples: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """Of the alert before."""

    state: State
    told_firing: bool
    silenced_until: datetime | None


@dataclass(frozen=True, slots=True)
class Decision:
    state: State
    reason: str
    tell: Told | None
    """To all channels, now."""

    @property
    def told_firing(self) -> bool | None:
        """What the channels have heard then; None: as before."""
        return None if self.tell is None else self.tell is Told.FIRING


def decide(bound: Bound, measured: Measured, standing: Standing, now: datetime) -> Decision:
    """Over the threshold is above it: of a threshold 0, one is over. With fewer samples than needed nothing is over:
    an alert that fires resolves when its function is not called any more."""
    is_over, reason = _judged(bound, measured)
    if is_over:
        state = State.FIRING
    else:
        state = State.OK if standing.state is State.OK else State.RESOLVED
    tell: Told | None = None
    if standing.told_firing != (state is State.FIRING) and not is_silenced(standing, now):
        tell = Told.FIRING if state is State.FIRING else Told.RESOLVED
    return Decision(state, reason, tell)


def is_silenced(standing: Standing, now: datetime) -> bool:
    return standing.silenced_until is not None and now < standing.silenced_until


def _judged(bound: Bound, measured: Measured) -> tuple[bool, str]:
    if bound.kind in SAMPLED and measured.samples < max(1, bound.min_samples):
        return False, f"{_runs(measured.samples)}, {bound.min_samples} are needed to judge."
    value = measured.value or 0.0
    is_over = value > bound.threshold
    shown = f"{shown_value(bound.kind, value)} is {'over' if is_over else 'not over'} the threshold of "
    shown += shown_value(bound.kind, bound.threshold)
    return is_over, shown + (f", of {_runs(measured.samples)}." if bound.kind in SAMPLED else ".")


def shown_value(kind: Kind, value: float) -> str:
    """For people."""
    if kind in RATES:
        return f"{100 * value:.4g} %"
    return {Kind.P95_MS: f"{value:.4g} ms", Kind.QUEUE_AGE_SEC: f"{value:.4g} s"}.get(kind, f"{value:g}")


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def threshold_problem(kind: Kind, threshold: float) -> str:
    """Why this can't be a threshold of that kind, or ""."""
    if kind in RATES and not 0 <= threshold < 1:
        return "A rate's threshold must be from 0 to below 1."
    return "" if 0 <= threshold < 1e9 else "Must be from 0 to below 1000000000."
