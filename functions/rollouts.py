"""Rollouts: an alias's traffic moved to a version step by step, and back by itself.

    start ──> running ──(last step done)──> completed: the version has all
               │  ^ ──(worse than allowed)──> returned: weights_before again, with the reason
         pause │  │ resume
               v  │
              paused ──abort (also from running)──> aborted: weights_before again

Each move holds the function's row lock and is a compare-and-set on (status, step, step_began_at): of two beats that
decide the same at once one moves, and what was decided before a pause or another step is dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit
from accounts.principal import Principal, acting_as
from functions import aliases, measures, news
from functions.errors import RolloutEnded, RolloutNotFound, VersionNotReady
from functions.models import Alias, Function, Rollout, RolloutStatus
from functions.rollout_policy import (
    OPEN,
    Advance,
    Complete,
    Decision,
    Plan,
    Return,
    Stats,
    Wait,
    decide,
    steps_problem,
)
from functions.routing import FULL, Weights, as_stored, as_weights, share_of, shifted
from functions.selectors import function_get
from functions.versions import version_get
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.logging import request_id_var

log = logging.getLogger("nimbus.rollouts")

THE_ROLLOUT = Principal(name="nimbus-rollout")
"""Who the audit log names for moves that nobody asked for."""


def rollouts_of(function: Function) -> QuerySet[Rollout]:
    """Newest first."""
    rows = Rollout.objects.select_related("alias").filter(alias__function=function)
    return rows.order_by("-created_at", "-pk")


def rollout_get(function: Function, alias_name: str) -> Rollout:
    """The alias's current rollout, else its latest. Raises AliasNotFound, RolloutNotFound."""
    alias = aliases.alias_get(function, alias_name)
    rollout = rollouts_of(function).filter(alias_id=alias.pk).first()
    if rollout is None:
        raise RolloutNotFound(f"The alias {alias.name} has had no rollout.")
    return rollout


def rollout_start(
    reference: str,
    alias_name: str,
    *,
    version: int,
    steps: Sequence[int],
    interval_sec: int,
    max_error_rate: float,
    max_p95_ms: float | None = None,
    min_samples: int = 20,
) -> Rollout:
    """The first step is in force when this returns. Raises FunctionNotFound, AliasNotFound, VersionNotFound,
    VersionNotReady, AliasBusy while another one owns the alias, InvalidRequest."""
    now = timezone.now()
    aliases.check_name(alias_name)
    with transaction.atomic():
        # Two starts at once wait for each other here; the second sees the first one's row.
        function = function_get(reference, for_update=True)
        alias = aliases.alias_get(function, alias_name)
        aliases.check_no_rollout(alias)
        before = as_weights(alias.weights)
        _check_plan(function, before, version, steps)
        rollout = Rollout(
            alias=alias,
            version=version,
            weights_before=as_stored(before),
            steps=list(steps),
            interval_sec=interval_sec,
            max_error_rate=max_error_rate,
            max_p95_ms=max_p95_ms,
            min_samples=min_samples,
            step_began_at=now,
        )
        rollout.history = [_entry(rollout, "started", "", now)]
        rollout.save(force_insert=True)
        aliases.move(alias, shifted(before, version, steps[0]))
        _record(rollout, "started", {"weights": as_stored(before)}, "")
    return rollout


def _check_plan(function: Function, before: Weights, version: int, steps: Sequence[int]) -> None:
    target = version_get(function, version)
    if not target.is_ready:
        raise VersionNotReady(f"Version {version} of {function.name} can't run: its build has not ended well.")
    if problem := steps_problem(steps):
        raise InvalidRequest(problem, details={"steps": [problem]})
    share = share_of(before, version)
    if share == FULL:
        problem = f"Version {version} has all of the alias's traffic already."
        raise InvalidRequest(problem, details={"version": [problem]})
    if share > steps[0]:
        problem = f"Version {version} has {share} % already; the first step must not be below that."
        raise InvalidRequest(problem, details={"steps": [problem]})


def rollout_pause(reference: str, alias_name: str) -> Rollout:
    """The weights stay as they are, nothing is judged. Raises RolloutEnded unless it is running."""
    return _asked(reference, alias_name, (RolloutStatus.RUNNING,), RolloutStatus.PAUSED, "paused")


def rollout_resume(reference: str, alias_name: str) -> Rollout:
    """The step in force begins anew: what ran during the pause is not judged. Raises RolloutEnded unless paused."""
    return _asked(reference, alias_name, (RolloutStatus.PAUSED,), RolloutStatus.RUNNING, "resumed")


def rollout_abort(reference: str, alias_name: str) -> Rollout:
    """Back to the weights before it. Raises RolloutEnded when it has ended."""
    return _asked(reference, alias_name, OPEN, RolloutStatus.ABORTED, "aborted")


def _asked(reference: str, alias_name: str, legal: Sequence[str], status: str, action: str) -> Rollout:
    now = timezone.now()
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        rollout = rollout_get(function, alias_name)
        if rollout.status not in legal:
            raise RolloutEnded(f"The rollout is {rollout.status}: it can't be {action}.")
        changes: dict[str, Any] = {"status": status, "reason": "By request." if status not in OPEN else ""}
        if status == RolloutStatus.RUNNING:
            changes["step_began_at"] = now
        _move(rollout, action, "By request.", now, **changes)
        if status == RolloutStatus.ABORTED:
            aliases.move(rollout.alias, as_weights(rollout.weights_before))
    return rollout


def look(rollout: Rollout, now: datetime) -> tuple[Decision, Stats, Stats]:
    """What is to be done with a running one, and the new and the old version's runs it follows from."""
    alias = rollout.alias
    old_versions = [side["version"] for side in rollout.weights_before if side["version"] != rollout.version]
    new = measures.measured(alias.function_id, alias.name, [rollout.version], rollout.step_began_at)
    old = measures.measured(alias.function_id, alias.name, old_versions, rollout.step_began_at)
    plan = Plan(
        steps=tuple(rollout.steps),
        step=rollout.step,
        step_began_at=rollout.step_began_at,
        interval_sec=rollout.interval_sec,
        max_error_rate=rollout.max_error_rate,
        max_p95_ms=rollout.max_p95_ms,
        min_samples=rollout.min_samples,
    )
    return decide(plan, new, old, now), new, old


def advance_all() -> int:
    """Decide on every running rollout and act. The count of moves. Beat calls it every second; two at once do no
    harm. What fails for one rollout is tried again by the next beat and does not keep the others."""
    # This thread served callers before: what happens now is by none of their requests.
    request_id_var.set("")
    moved = 0
    for rollout in Rollout.objects.select_related("alias__function").filter(status=RolloutStatus.RUNNING):
        decision, new, old = look(rollout, timezone.now())
        if isinstance(decision, Wait):
            continue
        try:
            with acting_as(THE_ROLLOUT):
                moved += _act(rollout, decision, new, old, timezone.now())
        except DatabaseError:
            log.exception("a rollout can't be moved now", extra={"rollout": str(rollout.pk)})
    return moved


def _act(seen: Rollout, decision: Decision, new: Stats, old: Stats, now: datetime) -> bool:
    """False when the rollout is no longer as it was when this was decided."""
    measured = {"new": shown_stats(new), "old": shown_stats(old)}
    with transaction.atomic():
        if not Function.objects.select_for_update().filter(pk=seen.alias.function_id).exists():
            return False
        still = {"status": RolloutStatus.RUNNING, "step": seen.step, "step_began_at": seen.step_began_at}
        rollout = Rollout.objects.select_related("alias__function").filter(pk=seen.pk, **still).first()
        if rollout is None:
            return False
        before = as_weights(rollout.weights_before)
        match decision:
            case Advance(reason):
                step = rollout.step + 1
                _move(rollout, "advanced", reason, now, measured, step=step, step_began_at=now)
                aliases.move(rollout.alias, shifted(before, rollout.version, rollout.steps[step]))
            case Complete(reason):
                _move(rollout, "completed", reason, now, measured, status=RolloutStatus.COMPLETED, reason=reason)
            case Return(reason):
                _move(rollout, "returned", reason, now, measured, status=RolloutStatus.RETURNED, reason=reason)
                aliases.move(rollout.alias, before)
    return True


def _move(
    rollout: Rollout, action: str, why: str, now: datetime, measured: dict[str, Any] | None = None, **changes: Any
) -> None:
    """Change the row that was read under the lock, with a line of history. The comparison is against a writer that
    does not hold the lock, such as an admin page. Raises RolloutEnded when it loses."""
    before = {"status": rollout.status, "step": rollout.step, "weights": rollout.alias.weights}
    same = {"status": rollout.status, "step": rollout.step, "step_began_at": rollout.step_began_at}
    for name, value in changes.items():
        setattr(rollout, name, value)
    rollout.history = [*rollout.history, _entry(rollout, action, why, now, measured)]
    rollout.updated_at = now
    stored = {"history": rollout.history, "updated_at": now, **changes}
    if not Rollout.objects.filter(pk=rollout.pk, **same).update(**stored):
        raise RolloutEnded("The rollout was changed meanwhile. Read it again.")
    _record(rollout, action, before, why)


def _entry(
    rollout: Rollout, action: str, why: str, now: datetime, measured: dict[str, Any] | None = None
) -> dict[str, Any]:
    """One line of history: the step in force after it."""
    entry: dict[str, Any] = {
        "at": now.isoformat(),
        "step": rollout.step,
        "percent": rollout.steps[rollout.step],
        "action": action,
        "reason": why,
    }
    return entry | ({"measured": measured} if measured else {})


def _record(rollout: Rollout, action: str, before: dict[str, Any], why: str) -> None:
    alias: Alias = rollout.alias
    function = alias.function
    after = {"status": str(rollout.status), "step": rollout.step, "version": rollout.version, "reason": why}
    name = f"{function.name}:{alias.name}"
    audit.record(f"rollout.{action}", "rollout", rollout.pk, name, before=before, after=after)
    news.tell(
        f"rollout.{action}",
        rollout_id=str(rollout.pk),
        function_id=str(function.pk),
        function_name=function.name,
        alias=alias.name,
        version=rollout.version,
        step=rollout.step,
        percent=rollout.steps[rollout.step],
        reason=why,
    )


def shown_stats(stats: Stats) -> dict[str, Any]:
    """``{runs, failures, error_rate, p95_ms}``"""
    return {
        "runs": stats.runs,
        "failures": stats.failures,
        "error_rate": round(stats.error_rate, 4),
        "p95_ms": None if stats.p95_ms is None else round(stats.p95_ms, 3),
    }
