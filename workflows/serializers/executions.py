"""Shapes of requests and answers about executions and their histories."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.validators import RegexValidator
from rest_framework import serializers

from functions.serializers.strict import AnyJsonField, StrictSerializer, TextField
from invocations.models import TriggerType
from invocations.serializers.invocations import as_it_came
from workflows.models import Execution, ExecutionStatus, Step, StepStatus
from workflows.states import StateType

MAX_ERROR, MAX_CAUSE = 256, 32_768
"""As AWS's StopExecution takes them."""
_TYPES = [(one.value, one.value) for one in StateType]
_NAME = RegexValidator(r"\A[A-Za-z0-9_.-]{1,80}\Z", "Must be 1 to 80 letters, digits, _, . and -.")
_TRUNCATED = "which of input and output are too large to be shown here"


class ExecutionStartSerializer(StrictSerializer):
    """An empty body is `{}`."""

    input = AnyJsonField(required=False, allow_null=True, help_text="what the first state gets; `{}`")
    name = TextField(
        required=False, trim_whitespace=False, validators=[_NAME], help_text="unique in the workflow; its id if absent"
    )


class ExecutionStopSerializer(StrictSerializer):
    error = TextField(required=False, allow_blank=True, max_length=MAX_ERROR, help_text="its error_code")
    cause = TextField(required=False, allow_blank=True, max_length=MAX_CAUSE, help_text="its error: why, in words")


class ExecutionSerializer(serializers.Serializer):
    """An execution in an answer. What has not happened yet is left out."""

    id = serializers.UUIDField()
    workflow_id = serializers.UUIDField()
    workflow_name = serializers.CharField(help_text="when it was started")
    workflow_version = serializers.IntegerField()
    name = serializers.CharField()
    status = serializers.ChoiceField(choices=ExecutionStatus.choices)
    input = serializers.JSONField(required=False, allow_null=True)
    output = serializers.JSONField(required=False)
    truncated = serializers.ListField(child=serializers.CharField(), required=False, help_text=_TRUNCATED)
    error = serializers.CharField(required=False, help_text="why it failed, in words")
    error_code = serializers.CharField(required=False, help_text="such as States.Timeout, or the function's own")
    current_state = serializers.CharField(required=False, help_text="the one that was entered last")
    trigger_type = serializers.ChoiceField(choices=TriggerType.choices)
    request_id = serializers.CharField(required=False, help_text="that started it; its invocations have it too")
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(required=False)
    completed_at = serializers.DateTimeField(required=False)
    duration_ms = serializers.FloatField(required=False, help_text="from its start to its end")


class ExecutionListSerializer(serializers.Serializer):
    executions = ExecutionSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()
    next_cursor = serializers.CharField(required=False)


class StepSerializer(serializers.Serializer):
    """One visit of one state."""

    number = serializers.IntegerField(help_text="in the order they were entered")
    state_name = serializers.CharField()
    state_type = serializers.ChoiceField(choices=_TYPES)
    status = serializers.ChoiceField(
        choices=StepStatus.choices, help_text="caught: failed, and a Catch took over; held: an item that waits its turn"
    )
    parent = serializers.IntegerField(  # type: ignore[assignment]  # DRF's metaclass takes it away
        required=False, help_text="number of the Parallel or Map it is part of"
    )
    branch = serializers.IntegerField(required=False, help_text="which of its parent's branches or items, from 0")
    input = serializers.JSONField(required=False, allow_null=True)
    output = serializers.JSONField(required=False)
    truncated = serializers.ListField(child=serializers.CharField(), required=False, help_text=_TRUNCATED)
    error = serializers.CharField(required=False)
    error_code = serializers.CharField(required=False)
    retry_count = serializers.IntegerField()
    invocation_id = serializers.UUIDField(required=False, help_text="of a Task's latest try")
    started_at = serializers.DateTimeField(allow_null=True, help_text="null until it is begun")
    completed_at = serializers.DateTimeField(required=False)


class HistorySerializer(serializers.Serializer):
    history = StepSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


_ALWAYS = frozenset({"number", "retry_count", "started_at", "branch"})
"""Of a step, which may be 0 or null."""


def execution_shape(row: Execution) -> dict[str, Any]:
    """One execution, whole."""
    return _execution(row) | _data(row.input, row.output)


def execution_row_shape(row: Any) -> dict[str, Any]:
    """One of a list (`selectors.listed`): large inputs and outputs are named instead of shown."""
    return _execution(row) | _listed_data(row)


def stopped_shape(row: Execution) -> dict[str, Any]:
    """Without its input: who may stop it need not be who may read it."""
    return _execution(row)


def step_shape(row: Any) -> dict[str, Any]:
    """One step, whole (`selectors.step_get`)."""
    return _step(row) | _data(row.input, row.output)


def step_row_shape(row: Any) -> dict[str, Any]:
    """One of a history (`selectors.listed`), as `execution_row_shape`."""
    return _step(row) | _listed_data(row)


def _listed_data(row: Any) -> dict[str, Any]:
    names = ("input", "output")
    large = [name for name in names if getattr(row, f"{name}_bytes") and getattr(row, f"listed_{name}") is None]
    shape = _data(row.listed_input, row.listed_output)
    return {name: value for name, value in shape.items() if name not in large} | ({"truncated": large} if large else {})


def _data(given: Any, made: Any) -> dict[str, Any]:
    """An output that is null is left out."""
    shape, output = {"input": as_it_came(given)}, as_it_came(made)
    return shape if output is None else shape | {"output": output}


def _execution(row: Execution) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "id": str(row.pk),
        "workflow_id": str(row.workflow_id),
        "workflow_name": row.workflow_name,
        "workflow_version": row.workflow_version,
        "name": row.name,
        "status": str(row.status),
        "error": row.error,
        "error_code": row.error_code,
        "current_state": row.current_state,
        "trigger_type": row.trigger_type,
        "request_id": row.request_id,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "completed_at": row.completed_at,
        "duration_ms": _duration_ms(row.started_at, row.completed_at),
    }
    return {key: value for key, value in shape.items() if value is not None and value != ""}


def _duration_ms(began: datetime | None, ended: datetime | None) -> float | None:
    return None if began is None or ended is None else round((ended - began).total_seconds() * 1000, 3)


def _step(row: Step) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "number": row.number,
        "state_name": row.state_name,
        "state_type": str(row.state_type),
        "status": str(row.status),
        "error": row.error,
        "error_code": row.error_code,
        "retry_count": row.retry_count,
        "invocation_id": str(row.invocation_id) if row.invocation_id else None,
        "started_at": row.started_at,
        "completed_at": row.completed_at,
    }
    if row.parent_id is not None:
        shape |= {"parent": row.parent_number, "branch": row.branch}  # type: ignore[attr-defined]  # annotated
    return {key: value for key, value in shape.items() if value or key in _ALWAYS}
