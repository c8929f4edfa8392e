"""A tick: fire what is due, each fire time once.

However many beats send ticks and workers run them: a schedule's row is locked while one of them deals with it (the
others pass it by), its next fire time moves on in the same transaction, and a fire time is a row that there can be one
of, stored together with the invocation or the execution. A worker that dies in between leaves nothing of it, and the
next tick begins anew.
"""

from __future__ import annotations

import logging
import random
from datetime import UTC, datetime
from uuid import UUID

import orjson
from django.db import DatabaseError, IntegrityError, transaction

from accounts import acting
from accounts.principal import acting_as
from functions import directory
from functions.directory import LiveFunction
from invocations.models import Invocation, TriggerType
from invocations.outcome import Status
from invocations.services import NewInvocation, submit
from nimbus_project.config import config
from nimbus_project.core import metrics
from nimbus_project.core.errors import NimbusError, Unavailable
from nimbus_project.core.ids import new_id
from nimbus_project.core.logging import request_id_var
from triggers import own_schedules, schedule, workflow_runs
from triggers.models import CatchUp, FireStatus, Overlap, Schedule, ScheduleFire
from triggers.schedule import CronError, Plan

log = logging.getLogger("nimbus.cron")

AT_ONCE = 500
"""Schedules that one tick looks at; the next tick goes on."""
LOOKED_BACK = 100
"""A schedule's latest runs among which one may still be under way."""
MAX_REASON = 500


def tick(now: datetime) -> int:
    """Fire whatever is due. The count of runs that were started. Beat asks for it every second; any number at once do
    no harm. What fails for one schedule is tried again by the next tick and does not keep the others."""
    # This thread served callers before: what happens now is by none of their requests.
    request_id_var.set("")
    own_schedules.follow(now)
    fired = 0
    due = Schedule.objects.filter(enabled=True, next_fire_at__lte=now).order_by("next_fire_at")
    for schedule_id in list(due.values_list("pk", flat=True)[:AT_ONCE]):
        try:
            fired += _fire_due(schedule_id, now)
        except (DatabaseError, Unavailable):
            log.exception("a schedule can't be fired now", extra={"schedule_id": str(schedule_id)})
    metrics.CRON_FIRES.inc(fired)
    return fired


def run_by_request(row: Schedule, now: datetime, request_id: str) -> ScheduleFire:
    """One run that somebody asked for, in the transaction of the caller: a function's with its rights, a
    workflow's with its own. Raises what `submit` and the choice of a version raise, and `workflow_runs.start`."""
    fire = _new_fire(row, now, now, by_request=True)
    fire.save(force_insert=True)
    if fire.execution_id is not None:
        _start(row, fire, request_id)
    else:
        _submit(row, fire, request_id)
    transaction.on_commit(metrics.CRON_FIRES.inc)
    return fire


def event_of(row: Schedule, at: datetime) -> bytes:
    """The event: ``{"source": "cron", "cron", "scheduled_at"}``, and ``payload`` where the schedule has one."""
    event: dict[str, object] = {
        "source": "cron",
        "cron": row.cron_expression,
        "scheduled_at": at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }
    if row.payload is not None:
        event["payload"] = orjson.Fragment(bytes(row.payload))
    return orjson.dumps(event)


def _fire_due(schedule_id: UUID, now: datetime) -> int:
    """Everything of one schedule that is due, in one transaction. The count of runs started."""
    with transaction.atomic():
        rows = Schedule.objects.select_for_update(of=("self",), skip_locked=True).select_related("function", "workflow")
        row = rows.filter(pk=schedule_id, enabled=True, next_fire_at__lte=now).first()
        if row is None or row.next_fire_at is None:
            return 0
        plan = _plan(row, row.next_fire_at, now)
        if plan is None:
            Schedule.objects.filter(pk=row.pk).update(next_fire_at=None)
            return 0
        fired = _carry_out(row, plan, now)
        Schedule.objects.filter(pk=row.pk).update(next_fire_at=plan.next_at, last_fire_at=plan.last_at)
    return fired


def _plan(row: Schedule, due_at: datetime, now: datetime) -> Plan | None:
    """None for an expression or zone that can't be read any more: zones are renamed with new editions of tzdata."""
    try:
        cron = schedule.parse(row.cron_expression, row.cron_timezone)
    except CronError as error:
        log.error("a schedule stops", extra={"schedule_id": str(row.pk), "reason": str(error)})
        return None
    catch_up = row.catch_up_policy == CatchUp.CATCH_UP_ONE
    return schedule.plan(cron, due_at, now, grace_sec=config().cron_grace_sec, catch_up=catch_up)


def _carry_out(row: Schedule, plan: Plan, now: datetime) -> int:
    if plan.missed and plan.missed_from is not None:
        _note_missed(row, plan, plan.missed_from, now)
    fired = 0
    if plan.catch_up is not None:
        fired += _fire(row, plan.catch_up, now, is_catch_up=True)
    for at in plan.fires:
        fired += _fire(row, at, now)
    return fired


def _note_missed(row: Schedule, plan: Plan, first: datetime, now: datetime) -> None:
    """One row for all of them: a second's schedule misses thousands in an hour."""
    fire = _new_fire(row, first, now)
    fire.missed = plan.missed
    more = " or more" if plan.missed >= schedule.MAX_COUNTED else ""
    until = f"{plan.missed_until:%F %T} UTC"
    _no_run(fire, FireStatus.MISSED, f"{plan.missed}{more} fire times, from {first:%F %T} to {until}: nothing ticked.")
    _store(fire)


def _fire(row: Schedule, at: datetime, now: datetime, *, is_catch_up: bool = False) -> bool:
    """One fire time: run, skip or refuse, and its row of history. True when it started a run."""
    fire = _new_fire(row, at, now, is_catch_up=is_catch_up)
    if row.overlap_policy == Overlap.SKIP and _is_running(row):
        _no_run(fire, FireStatus.SKIPPED, "The run of an earlier fire time has not ended.")
    if not _store(fire) or fire.status != FireStatus.FIRED:
        return False
    try:
        with transaction.atomic():
            _run(row, fire)
    except Unavailable:
        raise
    except NimbusError as error:
        _no_run(fire, FireStatus.REFUSED, error.message)
        fire.save(update_fields=["status", "reason", "invocation_id", "execution_id"])
        return False
    return True


def _no_run(fire: ScheduleFire, status: FireStatus, reason: str) -> None:
    fire.status, fire.reason = status, reason[:MAX_REASON]
    fire.invocation_id = fire.execution_id = None


def _run(row: Schedule, fire: ScheduleFire) -> None:
    """By the clock: with the rights that the owner has today."""
    if row.function is None:
        _start(row, fire, str(fire.execution_id))
        return
    with acting_as(acting.owner(row.function.owner_id)):
        _submit(row, fire, str(fire.invocation_id))


def _store(fire: ScheduleFire) -> bool:
    """False when this fire time has been dealt with already."""
    try:
        with transaction.atomic():
            fire.save(force_insert=True)
    except IntegrityError:
        return False
    return True


def _submit(row: Schedule, fire: ScheduleFire, request_id: str) -> Invocation:
    """By the one door. In whoever's name this is called."""
    function_id = str(row.function_id)
    function = directory.known(function_id) or directory.look_up(function_id)
    version, alias = _chosen(function, row)
    assert fire.invocation_id is not None
    return submit(
        NewInvocation(
            function=function,
            event=event_of(row, fire.fire_time),
            request_id=request_id,
            id=fire.invocation_id,
            trigger_type=TriggerType.CRON,
            version=version,
            alias=alias,
        )
    )


def _start(row: Schedule, fire: ScheduleFire, request_id: str) -> None:
    assert row.workflow is not None and fire.execution_id is not None
    event = event_of(row, fire.fire_time)
    workflow_runs.start(row.workflow, event, fire.execution_id, trigger_type=TriggerType.CRON, request_id=request_id)


def _chosen(function: LiveFunction, row: Schedule) -> tuple[int | None, str]:
    """Version and alias that it runs now. Raises AliasNotFound, VersionNotFound."""
    if row.alias:
        return function.route(row.alias, "", random.random()), row.alias
    if row.version is not None:
        directory.check_version(function, row.version)
    return row.version, ""


def _is_running(row: Schedule) -> bool:
    """Whether one of its runs waits, runs, or waits to be tried again; an execution: has not ended."""
    fires = ScheduleFire.objects.filter(schedule_id=row.pk, status=FireStatus.FIRED).order_by("-fire_time")
    latest = fires.values_list("invocation_id" if row.function_id else "execution_id", flat=True)[:LOOKED_BACK]
    ids = [run_id for run_id in latest if run_id is not None]
    if row.workflow_id is not None:
        return workflow_runs.any_open(ids)
    return Invocation.objects.filter(pk__in=ids, status__in=[Status.PENDING, Status.RUNNING]).exists()


def _new_fire(
    row: Schedule, at: datetime, now: datetime, *, by_request: bool = False, is_catch_up: bool = False
) -> ScheduleFire:
    return ScheduleFire(
        schedule_id=row.pk,
        function_id=row.function_id,
        workflow_id=row.workflow_id,
        fire_time=at,
        by_request=by_request,
        is_catch_up=is_catch_up,
        status=FireStatus.FIRED,
        invocation_id=new_id() if row.function_id else None,
        execution_id=new_id() if row.workflow_id else None,
        created_at=now,
    )
