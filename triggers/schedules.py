"""Changing schedules, and reading them. What a tick does with them is in `firing.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts import audit
from accounts.principal import principal_var
from accounts.visibility import owned, visible
from functions.directory import LATEST
from functions.models import Alias, Function, FunctionVersion
from functions.selectors import function_get
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.ids import as_uuid, new_id
from nimbus_project.core.logging import request_id_var
from triggers import firing, schedule
from triggers.errors import ScheduleExists, ScheduleIsOwn, ScheduleNotFound
from triggers.models import FireStatus, Schedule, ScheduleFire
from triggers.schedule import CronError
from workflows.selectors import workflow_get

MAX_PAYLOAD_BYTES = 256 * 1024
"""It is copied into each run's event."""
MAX_SCHEDULES = 100
"""Of one function or workflow."""
UPCOMING = 10
"""Fire times that are told ahead."""
FIELDS = (
    *("name", "description", "cron_expression", "cron_timezone", "alias", "version"),
    *("catch_up_policy", "overlap_policy", "enabled"),
)
FOLLOWING = ("cron_expression", "cron_timezone", "name")
"""What a function's own schedule has from the function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFilter:
    """What `GET /schedules` can ask for. None means any."""

    function_id: UUID | None = None
    workflow_id: UUID | None = None
    enabled: bool | None = None

    @classmethod
    def from_query(
        cls, query: Mapping[str, str], function_id: UUID | None = None, workflow_id: UUID | None = None
    ) -> ScheduleFilter:
        """Raises InvalidRequest. The caller resolves what is given by name."""
        enabled = query.get("enabled") or None
        if enabled not in (None, "true", "false"):
            raise _invalid("enabled", "Must be true or false.")
        wanted = None if enabled is None else enabled == "true"
        return cls(function_id=function_id, workflow_id=workflow_id, enabled=wanted)


def _seen() -> QuerySet[Schedule]:
    """Of functions and workflows that may be seen."""
    functions = Q(workflow=None) & visible("function__")
    workflows = Q(function=None) & owned("workflow__")
    return Schedule.objects.select_related("function", "workflow").filter(functions | workflows)


def schedules_matching(wanted: ScheduleFilter) -> QuerySet[Schedule]:
    """Those that may be seen, newest first."""
    rows = _seen()
    if wanted.function_id is not None:
        rows = rows.filter(function_id=wanted.function_id)
    if wanted.workflow_id is not None:
        rows = rows.filter(workflow_id=wanted.workflow_id)
    if wanted.enabled is not None:
        rows = rows.filter(enabled=wanted.enabled)
    return rows.order_by("-created_at", "-id")


def schedule_get(reference: str, *, for_update: bool = False) -> Schedule:
    """By id, among those that may be seen. Raises ScheduleNotFound. `for_update` needs a transaction."""
    uuid = as_uuid(reference)
    rows = _seen()
    if for_update:
        # A tick that fires it now holds the row: this waits for its end.
        rows = rows.select_for_update(of=("self",))
    row = rows.filter(pk=uuid).first() if uuid is not None else None
    if row is None:
        raise ScheduleNotFound("There is no schedule of this id.")
    return row


def upcoming(row: Schedule, now: datetime, count: int = UPCOMING) -> list[datetime]:
    """The next fire times, also of a paused one: those that it would have."""
    return schedule.next_fires(schedule.parse(row.cron_expression, row.cron_timezone), now, count)


def history(row: Schedule, status: str = "") -> QuerySet[ScheduleFire]:
    """Newest first. Raises InvalidRequest for a status that there is not."""
    if status and status not in FireStatus.values:
        raise _invalid("status", f"Must be one of {', '.join(FireStatus.values)}.")
    rows = ScheduleFire.objects.filter(schedule_id=row.pk)
    return (rows.filter(status=status) if status else rows).order_by("-fire_time", "-id")


def schedule_create(*, function: str = "", workflow: str = "", **given: Any) -> Schedule:
    """Of one of the two. Its first fire time is the first one from now. Raises FunctionNotFound, WorkflowNotFound,
    ScheduleExists, InvalidRequest for an expression, zone, alias or version that there is not."""
    now = timezone.now()
    row_id = new_id()
    if not function and not workflow:
        raise _invalid("function", "Give a function or a workflow.")
    if function and workflow:
        raise _invalid("workflow", "Give either a function or a workflow, not both.")
    with transaction.atomic():
        target = _target(function, workflow)
        if Schedule.objects.filter(**target).count() >= MAX_SCHEDULES:
            kind, found = next(iter(target.items()))
            raise _invalid(kind, f"{found.name} has {MAX_SCHEDULES} schedules already, the most there may be.")
        values = {"name": f"schedule-{row_id.hex[-8:]}"} | {key: given[key] for key in FIELDS if key in given}
        row = Schedule(id=row_id, created_by=principal_var.get().name, **target, **values)
        if "payload" in given:
            row.payload = _payload(given["payload"])
        _check_target(row)
        _set_next(row, now)
        _save(row, force_insert=True)
        audit.record("schedule.create", "schedule", row.pk, _shown_name(row), after=_state(row))
    return row


def schedule_update(reference: str, **given: Any) -> Schedule:
    """Change what is given, leave the rest. Another expression or zone counts from now on. Raises as `schedule_create`,
    and ScheduleIsOwn for what a function's own schedule has from the function."""
    now = timezone.now()
    with transaction.atomic():
        row = schedule_get(reference, for_update=True)
        before = _state(row)
        changed = {key for key in FIELDS if key in given and given[key] != getattr(row, key)}
        if row.is_own and (fixed := changed.intersection(FOLLOWING)):
            raise ScheduleIsOwn(
                f"This is the function's own schedule: {', '.join(sorted(fixed))} can't be changed here. Change "
                f"cron_expression and cron_timezone of the function {row.target.name}."
            )
        for key in changed:
            setattr(row, key, given[key])
        if "payload" in given:
            row.payload = _payload(given["payload"])
        _check_same(row, given)
        _check_target(row)
        if changed & {"cron_expression", "cron_timezone", "enabled"}:
            _set_next(row, now)
        _save(row)
        if (after := _state(row)) != before:
            audit.record("schedule.update", "schedule", row.pk, _shown_name(row), before=before, after=after)
    return row


def schedule_delete(reference: str) -> None:
    """Its runs stay readable. Raises ScheduleNotFound, ScheduleIsOwn."""
    with transaction.atomic():
        row = schedule_get(reference, for_update=True)
        if row.is_own:
            raise ScheduleIsOwn(
                f"This is the function's own schedule. Set cron_expression of {row.target.name} to the empty text."
            )
        audit.record("schedule.delete", "schedule", row.pk, _shown_name(row), before=_state(row))
        row.delete()


def schedule_set_enabled(reference: str, *, enabled: bool) -> Schedule:
    """Pause it or let it go on. When this has returned, a paused one fires no more; what would have fired during a
    pause is neither missed nor made up for. Raises ScheduleNotFound."""
    now = timezone.now()
    with transaction.atomic():
        row = schedule_get(reference, for_update=True)
        if row.enabled != enabled:
            before = {"enabled": row.enabled}
            row.enabled = enabled
            _set_next(row, now)
            row.save(update_fields=["enabled", "next_fire_at", "updated_at"])
            action = "schedule.resume" if enabled else "schedule.pause"
            audit.record(action, "schedule", row.pk, _shown_name(row), before=before, after={"enabled": enabled})
    return row


def schedule_run(reference: str) -> ScheduleFire:
    """Run it now, whatever its clock, pause and overlap policy say: a function with the rights of the caller, a
    workflow with its own. Raises ScheduleNotFound, and what keeps the one from being called, the other from being
    started."""
    now = timezone.now()
    with transaction.atomic():
        row = schedule_get(reference, for_update=True)
        fire = firing.run_by_request(row, now, request_id_var.get())
        run = (
            {"execution_id": str(fire.execution_id)} if row.workflow_id else {"invocation_id": str(fire.invocation_id)}
        )
        audit.record("schedule.run", "schedule", row.pk, _shown_name(row), after=run)
    return fire


def _target(function: str, workflow: str) -> dict[str, Any]:
    """Locked, so that two at once don't both make the last one that there may be."""
    if workflow:
        return {"workflow": workflow_get(workflow, for_update=True)}
    return {"function": function_get(function, for_update=True)}


def _check_same(row: Schedule, given: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for another target, FunctionNotFound, WorkflowNotFound."""
    message = "What a schedule runs can't change. Create another schedule."
    if "function" in given and (row.function is None or function_get(given["function"]).pk != row.function_id):
        raise _invalid("function", message)
    if "workflow" in given and (row.workflow is None or workflow_get(given["workflow"]).pk != row.workflow_id):
        raise _invalid("workflow", message)


def _payload(value: Any) -> bytes | None:
    """As stored; null takes it away."""
    if value is None:
        return None
    try:
        text = orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise _invalid("payload", "Is nested too deeply.") from error
    if len(text) > MAX_PAYLOAD_BYTES:
        raise _invalid("payload", f"Is {len(text)} bytes of JSON; at most {MAX_PAYLOAD_BYTES} (256 KiB) are allowed.")
    return text


def _check_target(row: Schedule) -> None:
    """Raises InvalidRequest for an alias or version that the function does not have now, or that is given for a
    workflow."""
    function: Function | None = row.function
    if function is None:
        for field in ("alias", "version"):
            if getattr(row, field):
                raise _invalid(field, "Is for functions only: of a workflow the newest version runs.")
        return
    if row.alias and row.version is not None:
        raise _invalid("alias", "Give either alias or version, not both.")
    if row.alias and row.alias != LATEST and not Alias.objects.filter(function=function, name=row.alias).exists():
        raise _invalid("alias", f"The function {function.name} has no alias of this name.")
    if row.version is not None:
        versions = FunctionVersion.objects.filter(function=function, version=row.version, is_ready=True)
        if not versions.exists():
            raise _invalid("version", f"The function {function.name} has no version {row.version} that can run.")


def _set_next(row: Schedule, now: datetime) -> None:
    try:
        cron = schedule.parse(row.cron_expression, row.cron_timezone)
    except CronError as error:
        raise _invalid(error.field, str(error)) from error
    row.cron_expression = cron.expression
    first = schedule.next_fire(cron, now)
    if first is None:
        raise _invalid("cron_expression", "Never fires in this time zone.")
    row.next_fire_at = first if row.enabled else None


def _save(row: Schedule, *, force_insert: bool = False) -> None:
    try:
        with transaction.atomic():
            row.save(force_insert=force_insert)
    except IntegrityError as error:
        where = Q(function=row.function, workflow=row.workflow, name=row.name) & ~Q(pk=row.pk)
        if not Schedule.objects.filter(where).exists():
            raise
        message = f"The {_kind(row)} {row.target.name} has a schedule named {row.name} already."
        raise ScheduleExists(message) from error


def _kind(row: Schedule) -> str:
    return "workflow" if row.workflow_id else "function"


def _shown_name(row: Schedule) -> str:
    return f"{row.target.name}/{row.name}"


def _state(row: Schedule) -> dict[str, Any]:
    """For the audit log, which keeps of the payload how long it is."""
    payload = bytes(row.payload) if row.payload is not None else None
    return {_kind(row): row.target.name, **{key: getattr(row, key) for key in FIELDS}, "payload": payload}


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", details={field: [message]})
