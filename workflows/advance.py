"""One advance of one execution: everything about it that is due, in one transaction that holds its row.

Whoever advances it (any worker, any number of them) waits for the row, so that one does so at a time. What it finds due
are steps by their `wake_at`: new ones, waits and back-offs that are over, time-outs, and those whose call or branches
have ended. The engine says what follows; next steps and calls are rows of the same transaction. So a worker that dies
leaves nothing of it, and whatever is stored is gone on with.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction
from django.db.models import Min

from accounts import standing
from accounts.principal import Principal
from functions import news
from nimbus_project.config import config
from nimbus_project.core import metrics
from nimbus_project.core.logging import request_id_var
from workflows import branches, calls, definition, engine
from workflows.branches import Parents
from workflows.calls import Ended
from workflows.engine import Broken, Call, Effect, Fork, Moved, Retrying, Sleep, Visit
from workflows.models import CHANGING, OPEN, Execution, ExecutionStatus, Step, StepStatus
from workflows.states import RUNTIME, TIMEOUT, Failure, StateType

log = logging.getLogger("nimbus.workflows")

STEPS_AT_ONCE = 100
"""Steps of one transaction; the next one goes on."""
MAX_STEPS = 25_000
"""Of one execution: then it is going round. As many events a history of AWS's may have."""
_SOURCE = random.SystemRandom()


def waiting(after: UUID, limit: int) -> list[tuple[UUID, datetime]]:
    """Executions about which something is due, in the order of their ids from behind `after` on, and since when. For
    `workers/takers.py`. Raises DatabaseError."""
    now = datetime.now(UTC)
    steps = Step.objects.filter(wake_at__lte=now, execution_id__gt=after).order_by("execution_id")
    late = Execution.objects.filter(timeout_at__lte=now, pk__gt=after).order_by("pk")
    found: dict[UUID, datetime] = {pk: at for pk, at in late.values_list("pk", "timeout_at")[:limit] if at}
    found |= dict(steps.values_list("execution_id").annotate(due=Min("wake_at"))[:limit])
    return sorted(found.items())[:limit]


def advance(execution_id: UUID, now: datetime) -> bool:
    """Whatever is due. False when nothing was. Raises DatabaseError, Unavailable: nothing has happened then."""
    with transaction.atomic():
        rows = Execution.objects.select_for_update(of=("self",)).select_related("definition")
        execution = rows.filter(pk=execution_id, status__in=OPEN).first()
        return execution is not None and Advance(execution, now).go()


def give_up(execution_id: UUID, now: datetime) -> None:
    """It can't be advanced, which is the platform's fault: it fails."""
    with transaction.atomic():
        execution = Execution.objects.select_for_update().filter(pk=execution_id, status__in=OPEN).first()
        if execution is not None:
            failure = Failure(RUNTIME, "The platform could not go on with it; its log says why.")
            end(execution, ExecutionStatus.FAILED, now, failure=failure)


class Advance:
    """Of one execution, whose row the transaction holds."""

    def __init__(self, execution: Execution, now: datetime) -> None:
        self.execution = execution
        self.now = now
        self.definition = definition.from_text(execution.definition.document)
        self._input: Any = None
        self._parents = Parents(self.now)
        self._ended: dict[UUID, Ended] = {}
        """What the calls of the steps at hand came to."""
        self._is_stale = False
        """Steps were ended that may be among those at hand."""
        request_id_var.set(execution.request_id)

    @cached_property
    def _who(self) -> Principal:
        return standing.principal_of(self.execution.owner_id, self.execution.role)

    def go(self) -> bool:
        execution, moved = self.execution, 0
        if execution.timeout_at is not None and execution.timeout_at <= self.now:
            end(execution, ExecutionStatus.TIMEOUT, self.now, failure=Failure(TIMEOUT, "It ran for too long."))
            return True
        while moved < STEPS_AT_ONCE and (steps := self._due()):
            moved += self._move_all(steps)
            self._parents.settle()
            if execution.steps_made > MAX_STEPS and execution.status in OPEN:
                failure = Failure(RUNTIME, f"It has made more than {MAX_STEPS} steps: it is going round.")
                end(execution, ExecutionStatus.FAILED, self.now, failure=failure)
        if moved and execution.status in OPEN:
            execution.save(update_fields=["status", "current_state", "steps_made", "started_at"])
        return bool(moved)

    def _due(self) -> list[Step]:
        if self.execution.status not in OPEN:
            return []
        due = Step.objects.filter(execution=self.execution, status=StepStatus.RUNNING, wake_at__lte=self.now)
        return list(due.order_by("number")[:STEPS_AT_ONCE])

    def _move_all(self, steps: Sequence[Step]) -> int:
        """Go on with each, and with what follows it for as long as that waits for nothing. The count of steps."""
        called = [step.invocation_id for step in steps if step.is_entered and step.invocation_id is not None]
        self._ended = calls.ended_calls(called) if called else {}
        self._is_stale, moved = False, 0
        for first in steps:
            step: Step | None = first
            while step is not None and moved < STEPS_AT_ONCE:
                step, moved = self._move(step), moved + 1
            if step is not None:
                _store(step)
            if self._is_stale or moved >= STEPS_AT_ONCE:
                break
        return moved

    def _move(self, step: Step) -> Step | None:
        """Go on with a step that is due. The one that follows it, not yet stored, if there is one."""
        visit = self._visit(step)
        if not step.is_entered:
            return self._begin(step, visit)
        match visit.state.type:
            case StateType.TASK:
                effect = self._look_at_call(step, visit)
            case StateType.WAIT:
                effect = engine.waited(visit)
            case _:
                effect = engine.joined(visit, branches.outputs(step)) if not step.branches_open else None
        if effect is None:
            # Woken for nothing: it is as it was.
            step.wake_at = step.timeout_at
            step.save(update_fields=["wake_at"])
            return None
        return self._apply(step, visit, effect)

    def _begin(self, step: Step, visit: Visit) -> Step | None:
        execution = self.execution
        if execution.status == ExecutionStatus.PENDING:
            execution.status, execution.started_at = ExecutionStatus.RUNNING, self.now
        execution.current_state = step.state_name
        step.started_at = step.started_at or self.now
        return self._apply(step, visit, engine.enter(visit, self.now))

    def _look_at_call(self, step: Step, visit: Visit) -> Effect | None:
        """None while its call is under way, and in time."""
        assert step.invocation_id is not None, "an entered Task has called"
        ended = self._ended.get(step.invocation_id)
        if ended is None and step.timeout_at is not None and step.timeout_at <= self.now:
            if calls.cancel_call(step.invocation_id, self.now):
                late = Failure(TIMEOUT, f"{step.state_name}: its call took longer than its TimeoutSeconds.")
                return engine.failed(visit, late)
            ended = calls.ended_calls([step.invocation_id]).get(step.invocation_id)
        if ended is None:
            return None
        if ended.failure is not None:
            return engine.failed(visit, ended.failure)
        return engine.called(visit, ended.result or b"null", ended.version)

    def _apply(self, step: Step, visit: Visit, effect: Effect) -> Step | None:
        match effect:
            case Call():
                return self._call(step, visit, effect)
            case Sleep(until):
                step.is_entered, step.wake_at = True, until
            case Fork():
                branches.fork(self.execution, step, effect, self.definition.states, self.now)
            case Retrying(delay_sec, tried):
                step.is_entered, step.retry_count, step.retries = False, step.retry_count + 1, list(tried)
                step.wake_at, step.timeout_at = self.now + timedelta(seconds=delay_sec), None
            case Moved():
                return self._moved(step, effect)
            case Broken(failure):
                return self._broken(step, failure)
        _store(step)
        return None

    def _call(self, step: Step, visit: Visit, call: Call) -> Step | None:
        execution = self.execution
        try:
            step.invocation_id = calls.submit_call(
                call.resource, call.event, self._who, request_id=execution.request_id, hops=execution.hops
            )
        except Failure as failure:
            return self._apply(step, visit, engine.failed(visit, failure))
        step.is_entered = True
        step.timeout_at = self.now + timedelta(seconds=call.timeout_sec) if call.timeout_sec else None
        step.wake_at = step.timeout_at
        _store(step)
        return None

    def _moved(self, step: Step, moved: Moved) -> Step | None:
        step.output, step.ends_branch = moved.output, not moved.next
        if moved.caught is not None:
            _close(step, StepStatus.CAUGHT, self.now, moved.caught)
        else:
            _close(step, StepStatus.SUCCEEDED, self.now)
        if moved.next:
            return branches.next_step(self.execution, step, self.definition.states[moved.next], self.now)
        if step.parent_id is not None:
            self._parents.leave(step.parent_id)
        else:
            end(self.execution, ExecutionStatus.SUCCEEDED, self.now, output=moved.output)
        return None

    def _broken(self, step: Step, failure: Failure) -> Step | None:
        if step.parent_id is None:
            _close(step, StepStatus.TIMEOUT if failure.error == TIMEOUT else StepStatus.FAILED, self.now, failure)
            end(self.execution, ExecutionStatus.FAILED, self.now, failure=failure)
            return None
        self._is_stale = True
        branches.cancel(self.execution, self.now, below=step.parent_id, but=step.pk)
        _close(step, StepStatus.FAILED, self.now, failure)
        self._parents.forget(step.parent_id)
        parent = Step.objects.get(pk=step.parent_id)
        visit = self._visit(parent)
        return self._apply(parent, visit, engine.failed(visit, failure))

    def _visit(self, step: Step) -> Visit:
        return Visit(
            state=self.definition.states[step.state_name],
            input=orjson.loads(bytes(step.input)),
            context=self._context(step),
            tried=tuple(step.retries),
            jitter=random.random(),
            source=_SOURCE,
            max_bytes=config().max_event_bytes,
        )

    def _context(self, step: Step) -> dict[str, Any]:
        """The specification's context object."""
        execution = self.execution
        if self._input is None:
            self._input = orjson.loads(bytes(execution.input))
        return {
            "Execution": {
                "Id": str(execution.pk),
                "Name": execution.name,
                "Input": self._input,
                "StartTime": _moment(execution.started_at or self.now),
            },
            "StateMachine": {"Id": str(execution.workflow_id), "Name": execution.workflow_name},
            "State": {
                "Name": step.state_name,
                "EnteredTime": _moment(step.started_at or self.now),
                "RetryCount": step.retry_count,
            },
        }


def end(
    execution: Execution,
    status: ExecutionStatus,
    now: datetime,
    *,
    output: bytes | None = None,
    failure: Failure | None = None,
) -> None:
    """The execution is over, and whatever of it is under way with it. By who holds its row."""
    branches.cancel(execution, now)
    execution.status, execution.output, execution.completed_at = status, output, now
    execution.started_at = execution.started_at or now
    execution.timeout_at = None
    if failure is not None:
        execution.error_code, execution.error = _told(failure)
    changed = ("status", "current_state", "steps_made", "output", "error", "error_code")
    execution.save(update_fields=[*changed, "started_at", "completed_at", "timeout_at"])
    transaction.on_commit(metrics.WORKFLOW_EXECUTIONS.labels(execution.workflow_name, str(status)).inc)
    news.tell(
        "execution.finished", execution_id=str(execution.pk), workflow=execution.workflow_name, status=str(status)
    )


def _close(step: Step, status: StepStatus, now: datetime, failure: Failure | None = None) -> None:
    step.status, step.completed_at, step.wake_at, step.timeout_at = status, now, None, None
    if failure is not None:
        step.error_code, step.error = _told(failure)
    duration_ms = (now - (step.started_at or now)).total_seconds() * 1000
    transaction.on_commit(partial(metrics.WORKFLOW_STEP_DURATION.observe, duration_ms))
    _store(step)


def _told(failure: Failure) -> tuple[str, str]:
    """Its name and its cause as columns take them: PostgreSQL's text has no NUL."""
    return failure.error[:256].replace("\0", "\N{SYMBOL FOR NULL}"), failure.cause.replace("\0", "\N{SYMBOL FOR NULL}")


def _store(step: Step) -> None:
    if step._state.adding:
        step.save(force_insert=True)
    else:
        step.save(update_fields=CHANGING)


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
