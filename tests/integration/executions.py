"""Executions of workflows in tests: calls are answered by hand instead of by a worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from invocations import lifecycle
from invocations.models import Invocation, TriggerType
from invocations.outcome import Fault, Outcome, Status
from workflows import advance as advancing
from workflows import services
from workflows.models import Execution, Step

Answer = Callable[[Any], Any]
"""An event to a result; what it raises is the function's error."""


def start(states: dict[str, Any], given: Any = None, **more: Any) -> Execution:
    """Of a new workflow that begins with the first of these states."""
    definition = {"StartAt": next(iter(states)), "States": states} | more
    workflow = services.workflow_create(name=f"w-{Execution.objects.count()}", definition=definition)
    return services.execution_start(
        workflow, json.dumps(given).encode(), trigger_type=TriggerType.HTTP, request_id="r-1"
    )


def advance(execution: Execution, now: datetime | None = None) -> Execution:
    """Whatever is due now, and what follows of it, as far as it comes without an answer."""
    while advancing.advance(execution.pk, now or timezone.now()):
        pass
    execution.refresh_from_db()
    return execution


def answer(given: Answer, *, at_once: int | None = None) -> int:
    """Take calls that wait, and end each with what `given` makes of its event. The count."""
    rows = Invocation.objects.filter(status=Status.PENDING).order_by("created_at", "id")[:at_once]
    now = timezone.now()
    for row in list(rows):
        held = lifecycle.claim(row.function_id, "w", now, 10)
        assert held is not None
        assert lifecycle.finish(held, _outcome(given, json.loads(bytes(held.input))), None, now, 0.5)
    return len(rows)


def run(execution: Execution, given: Answer = lambda event: event, *, rounds: int = 100) -> Execution:
    """To its end, as fast as its clock can be turned: each round is a day later."""
    now = datetime.now(UTC)
    for number in range(rounds):
        if advance(execution, now + timedelta(days=number)).completed_at is not None:
            return execution
        answer(given)
    raise AssertionError(f"not at its end after {rounds} rounds: {history(execution)}")


def history(execution: Execution) -> list[tuple[str, str]]:
    """Names and statuses of its steps."""
    return [(step.state_name, step.status) for step in Step.objects.filter(execution=execution).order_by("number")]


def output(execution: Execution) -> Any:
    assert execution.status == "succeeded", (execution.status, execution.error_code, execution.error)
    return json.loads(bytes(execution.output or b"null"))


def _outcome(given: Answer, event: Any) -> Outcome:
    try:
        return Outcome(status=Status.SUCCESS, output=json.dumps(given(event)).encode())
    except TimeoutError as error:
        return Outcome(status=Status.TIMEOUT, fault=Fault.FUNCTION, error=str(error), error_type="Timeout")
    except Exception as error:
        kind = type(error).__name__
        return Outcome(status=Status.FAILED, fault=Fault.FUNCTION, error=str(error), error_type=kind)
