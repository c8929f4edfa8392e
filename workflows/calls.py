"""What a Task calls: an invocation like any other, by the one door, in the transaction that notes it.

Retry and Catch are the workflow's own, so the function's retries, dead letters and destinations have no part in it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson
from django.db import transaction

from accounts import standing
from accounts.principal import Principal, acting_as
from functions import directory
from invocations import lifecycle
from invocations.models import Invocation, TriggerType
from invocations.outcome import TERMINAL, Status
from invocations.services import MAX_HOPS, NewInvocation, submit
from nimbus_project.core import queue, redis
from nimbus_project.core.errors import NimbusError, Unavailable
from nimbus_project.core.ids import new_id
from nimbus_project.core.queue import Task
from workflows.models import Step, StepStatus
from workflows.states import PERMISSIONS, TASK_FAILED, TIMEOUT, Failure, Resource

_ERRORS = {"forbidden": PERMISSIONS, "function_not_found": "Lambda.ResourceNotFoundException"}
"""By our own codes; Lambda's name where its users know one. Others: "Nimbus." and the code."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a Task's call came to."""

    result: bytes | None
    """JSON text; None when it failed."""
    version: int
    failure: Failure | None


def submit_call(resource: Resource, event: bytes, who: Principal, *, request_id: str, hops: int) -> UUID:
    """The invocation's id. Raises Failure when the function can't be called, Unavailable when that can't be told."""
    if not standing.may_call(who):
        raise Failure(PERMISSIONS, "The owner of the workflow may not call functions any more.")
    try:
        # A savepoint: a refusal must not undo what this transaction has done so far.
        with transaction.atomic(), acting_as(who):
            return submit(_new(resource, event, request_id, hops)).pk
    except Unavailable:
        raise
    except NimbusError as error:
        raise Failure(_ERRORS.get(error.error_code, f"Nimbus.{error.error_code}"), error.message) from error


def _new(resource: Resource, event: bytes, request_id: str, hops: int) -> NewInvocation:
    function = directory.known(resource.function) or directory.look_up(resource.function)
    version, alias = None, ""
    if resource.qualifier.isdigit():
        version = int(resource.qualifier)
        directory.check_version(function, version)
    elif resource.qualifier not in {"", "$LATEST"}:
        alias = resource.qualifier
        version = function.route(alias, "", random.random())
    return NewInvocation(
        function=function,
        event=event,
        request_id=request_id,
        id=new_id(),
        trigger_type=TriggerType.WORKFLOW,
        version=version,
        alias=alias,
        hops=min(hops, MAX_HOPS),
        max_attempts=1,
    )


def ended_calls(ids: Sequence[UUID]) -> dict[UUID, Ended]:
    """Those of these invocations that are not under way."""
    told = ("status", "output", "version", "error", "error_type", "stack_trace")
    rows = {row.pk: row for row in Invocation.objects.filter(pk__in=ids).only(*told)}
    gone = Ended(None, 0, Failure(TASK_FAILED, "The invocation was deleted before its end was seen."))
    found = {pk: _ended_row(rows[pk]) if pk in rows else gone for pk in ids}
    return {pk: ended for pk, ended in found.items() if ended is not None}


def _ended_row(row: Invocation) -> Ended | None:
    if row.status not in TERMINAL:
        return None
    if row.status == Status.SUCCESS:
        return Ended(bytes(row.output) if row.output is not None else b"null", row.version, None)
    if row.status == Status.TIMEOUT:
        return Ended(None, row.version, Failure(TIMEOUT, row.error))
    # As Lambda tells of a function's error: what catches it may read the parts.
    cause = {"errorMessage": row.error, "errorType": row.error_type, "stackTrace": row.stack_trace}
    return Ended(None, row.version, Failure(row.error_type or TASK_FAILED, orjson.dumps(cause).decode()))


def cancel_call(invocation_id: UUID, now: datetime) -> bool:
    """End it, its sandbox too. False when it has ended already. Before the caller writes the step that it belongs to:
    an invocation's end locks both in this order (`ended`)."""
    if not lifecycle.cancel(invocation_id, now):
        return False
    message = orjson.dumps({"cancel": str(invocation_id)})
    transaction.on_commit(lambda: redis.publish(redis.CONTROL, message))
    return True


def ended(invocation_id: UUID, now: datetime) -> None:
    """A listener of `invocations.endings`: the step can go on, in the transaction of the invocation's end."""
    steps = Step.objects.filter(invocation_id=invocation_id, status=StepStatus.RUNNING)
    for execution_id in list(steps.values_list("execution_id", flat=True)):
        steps.update(wake_at=now)
        queue.wake_after_commit(Task.ADVANCE, str(execution_id))
