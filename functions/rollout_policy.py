"""What to do next with a rollout. Pure: the clock and what was measured come in as arguments.

Measured are the runs that came through the alias since the step in force began: those of the new version, and those of
the versions it replaces, over the same time. A run counts when the function itself decided how it ended; faults of the
platform or of the caller, and cancelled runs, say nothing about a version.

The rules, in this order:

1. Until the new version has `min_samples` runs in this step there is nothing to judge: wait.
2. Its error rate is above `max_error_rate`, or its p95 above `max_p95_ms`: go back at once, also in the middle of a
   step. Unless the old versions, over at least `min_samples` runs of the same time, did no better: then the cause lies
   elsewhere, going back would help nobody and going on would be reckless, so wait.
3. The step has not lasted `interval_sec` yet: wait.
4. Otherwise the next step; after the last one the rollout is complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

OPEN = ("running", "paused")
"""States in which a rollout owns its alias."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A rollout, as far as decisions depend on it."""

    steps: tuple[int, ...]
    step: int
    step_began_at: datetime
    interval_sec: int
    max_error_rate: float | None
    """0–1; None: not looked at."""
    max_p95_ms: float | None
    min_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Runs that count, of one side."""

    runs: int = 0
    failures: int = 0
    p95_ms: float | None = None
    """Of the handler's time; None without runs."""

    @property
    def error_rate(self) -> float:
        return self.failures / self.runs if self.runs else 0.0


@dataclass(frozen=True, slots=True)
class Wait:
    reason: str


@dataclass(frozen=True, slots=True)
class Advance:
    reason: str


@dataclass(frozen=True, slots=True)
class Complete:
    reason: str


@dataclass(frozen=True, slots=True)
class Return:
    reason: str


Decision = Wait | Advance | Complete | Return


def decide(plan: Plan, new: Stats, old: Stats, now: datetime) -> Decision:
    """What to do at `now`."""
    if new.runs < plan.min_samples:
        return Wait(f"{new.runs} of {plan.min_samples} runs of the new version in this step.")
    bad = _too_many_errors(plan, new, old) or _too_slow(plan, new, old)
    if bad is not None:
        return bad
    until = plan.step_began_at + timedelta(seconds=plan.interval_sec)
    if now < until:
        return Wait(f"The step lasts until {until.isoformat(timespec='seconds')}.")
    well = f"{new.runs} runs, {_percent(new.error_rate)} failed, p95 {_ms(new.p95_ms)}."
    return Advance(well) if plan.step + 1 < len(plan.steps) else Complete(well)


def _too_many_errors(plan: Plan, new: Stats, old: Stats) -> Decision | None:
    if plan.max_error_rate is None or new.error_rate <= plan.max_error_rate:
        return None
    what = (
        f"{new.failures} of {new.runs} runs of the new version failed ({_percent(new.error_rate)}); "
        f"{_percent(plan.max_error_rate)} are allowed"
    )
    if old.runs >= plan.min_samples and new.error_rate <= old.error_rate:
        return Wait(f"{what}, but the old version does no better ({_percent(old.error_rate)}).")
    return Return(f"{what}. The old version: {old.failures} of {old.runs}.")


def _too_slow(plan: Plan, new: Stats, old: Stats) -> Decision | None:
    if plan.max_p95_ms is None or new.p95_ms is None or new.p95_ms <= plan.max_p95_ms:
        return None
    what = f"The new version's p95 is {_ms(new.p95_ms)}; {_ms(plan.max_p95_ms)} are allowed"
    if old.p95_ms is not None and old.runs >= plan.min_samples and new.p95_ms <= old.p95_ms:
        return Wait(f"{what}, but the old version is no faster ({_ms(old.p95_ms)}).")
    return Return(f"{what}. The old version's: {_ms(old.p95_ms)}.")


def stats_of(runs: Sequence[tuple[bool, float]]) -> Stats:
    """From ``(succeeded, duration_ms)`` of each run that counts; p95 by nearest rank."""
    if not runs:
        return Stats()
    durations = sorted(duration for _, duration in runs)
    rank = -(-95 * len(durations) // 100)
    return Stats(runs=len(runs), failures=sum(not good for good, _ in runs), p95_ms=durations[rank - 1])


def steps_problem(steps: Sequence[int]) -> str:
    """Which rule the steps break, or ""."""
    if not steps:
        return "Must have at least one step."
    if any(type(step) is not int or not 1 <= step <= 100 for step in steps):
        return "Each step must be an integer from 1 to 100, the new version's percentage."
    if any(later <= earlier for earlier, later in pairwise(steps)):
        return "Each step must be larger than the one before."
    return "" if steps[-1] == 100 else "The last step must be 100."


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} ms"
