"""Shapes of answers about invocations."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from rest_framework import serializers

from invocations.models import Invocation, TriggerType
from invocations.outcome import Status
from invocations.selectors import Lines

_STATUSES = [(s.value, s.value) for s in Status]


class InvocationSerializer(serializers.Serializer):
    """An invocation in an answer. What has not happened yet is left out."""

    id = serializers.UUIDField()
    function_id = serializers.UUIDField()
    function_name = serializers.CharField()
    version = serializers.IntegerField()
    alias_used = serializers.CharField(required=False)
    environment = serializers.CharField(required=False)
    trigger_type = serializers.ChoiceField(choices=TriggerType.choices)
    status = serializers.ChoiceField(choices=_STATUSES)
    input = serializers.JSONField(allow_null=True, help_text="the event")
    output = serializers.JSONField(required=False, help_text="the result")
    truncated = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="in lists: which of input and output are too large to be shown there",
    )
    omitted = serializers.DictField(
        child=serializers.IntegerField(),
        required=False,
        help_text="bytes of an input or output that was too large to be kept, by its name",
    )
    error = serializers.CharField(required=False)
    error_type = serializers.CharField(required=False)
    stack_trace = serializers.ListField(child=serializers.CharField(), required=False)
    cold_start = serializers.BooleanField()
    start_kind = serializers.CharField(required=False, help_text="cold, prewarmed or warm")
    attempt = serializers.IntegerField(help_text="tries begun")
    retry_count = serializers.IntegerField(help_text="tries after the first")
    attempts = serializers.ListField(child=serializers.DictField(), required=False, help_text="those repeated")
    next_attempt_at = serializers.DateTimeField(required=False)
    started_at = serializers.DateTimeField(required=False)
    completed_at = serializers.DateTimeField(required=False)
    duration_ms = serializers.FloatField(allow_null=True, help_text="null, as the next three, until it is known")
    queue_ms = serializers.FloatField(allow_null=True)
    billed_time_ms = serializers.IntegerField(allow_null=True)
    memory_used_mb = serializers.FloatField(allow_null=True)
    session_key = serializers.CharField(required=False)
    dead_letter_id = serializers.UUIDField(required=False, help_text="what this is a retry of")
    request_id = serializers.CharField()
    created_at = serializers.DateTimeField()


class InvocationListSerializer(serializers.Serializer):
    invocations = InvocationSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()
    next_cursor = serializers.CharField(required=False)


class LogLineSerializer(serializers.Serializer):
    timestamp = serializers.DateTimeField()
    stream = serializers.ChoiceField(choices=["stdout", "stderr", "system"])
    message = serializers.CharField()


class LogListSerializer(serializers.Serializer):
    logs = LogLineSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()
    next_cursor = serializers.CharField(required=False)


class AcceptedSerializer(serializers.Serializer):
    request_id = serializers.CharField()
    invocation_id = serializers.UUIDField()
    status = serializers.CharField(help_text="accepted")


class CancelSerializer(serializers.Serializer):
    request_id = serializers.CharField()
    invocation_id = serializers.CharField()
    status = serializers.CharField(help_text="cancelled, or cancelling for a synchronous call that is being ended")


class QuotaSerializer(serializers.Serializer):
    """What an owner uses and may use; a limit of 0 is none, and its percentage 0."""

    function_count = serializers.IntegerField()
    total_memory_mb = serializers.IntegerField(help_text="of the newest versions")
    today_invocations = serializers.IntegerField(help_text="since midnight UTC")
    total_code_size_kb = serializers.IntegerField(help_text="of the newest versions")
    max_functions = serializers.IntegerField()
    max_memory_mb = serializers.IntegerField()
    max_invocations_per_day = serializers.IntegerField()
    max_code_size_kb = serializers.IntegerField()
    function_usage_percent = serializers.FloatField()
    memory_usage_percent = serializers.FloatField()
    invocation_usage_percent = serializers.FloatField()
    code_usage_percent = serializers.FloatField()


class PlatformHourSerializer(serializers.Serializer):
    hour = serializers.DateTimeField(help_text="when it began")
    invocations = serializers.IntegerField()
    by_status = serializers.DictField(child=serializers.IntegerField())


class PlatformStatsSerializer(serializers.Serializer):
    """At most a few seconds old. Invocations are those of the hour under way and the 23 before."""

    functions = serializers.IntegerField()
    functions_by_status = serializers.DictField(child=serializers.IntegerField())
    functions_by_runtime = serializers.DictField(child=serializers.IntegerField())
    invocations = serializers.IntegerField()
    by_status = serializers.DictField(child=serializers.IntegerField())
    by_runtime = serializers.DictField(child=serializers.IntegerField())
    by_hour = PlatformHourSerializer(many=True)


class InvokeAnswerSerializer(serializers.Serializer):
    """The answer of `/invoke`; its HTTP status is `status_code`."""

    request_id = serializers.CharField()
    invocation_id = serializers.UUIDField()
    status_code = serializers.IntegerField()
    body = serializers.JSONField(allow_null=True, help_text="the function's result")
    error = serializers.CharField(required=False)
    error_type = serializers.CharField(required=False)
    stack_trace = serializers.ListField(child=serializers.CharField(), required=False)
    duration_ms = serializers.FloatField()
    cold_start = serializers.BooleanField()
    start_kind = serializers.CharField()
    billed_time_ms = serializers.IntegerField()
    version = serializers.IntegerField()
    alias_used = serializers.CharField(required=False)
    logs = serializers.CharField(required=False, help_text="with ?logs=true: the last 4 KiB")


_ALWAYS = frozenset(
    {"id", "function_id", "function_name", "version", "trigger_type", "status", "input", "cold_start", "attempt"}
    | {"retry_count", "request_id", "created_at", "duration_ms", "queue_ms", "billed_time_ms", "memory_used_mb"}
)


def invocation_shape(row: Invocation) -> dict[str, Any]:
    """One invocation, whole."""
    return _shape(row, as_it_came(row.input), as_it_came(row.output), [])


def invocation_row_shape(row: Any) -> dict[str, Any]:
    """One of a list (`selectors.listed`): large events and results are named instead of shown."""
    large = [
        name for name in ("input", "output") if getattr(row, f"{name}_bytes") and getattr(row, f"listed_{name}") is None
    ]
    return _shape(row, as_it_came(row.listed_input), as_it_came(row.listed_output), large)


def as_it_came(text: Any) -> orjson.Fragment | None:
    """JSON text for the answer as it is: not parsed, so that neither depth nor a number's spelling matters."""
    return None if text is None or (encoded := bytes(text)) in (b"", b"null") else orjson.Fragment(encoded)


def _omitted(row: Invocation) -> dict[str, int]:
    sizes = {"input": row.omitted_input_bytes, "output": row.omitted_output_bytes}
    return {name: size for name, size in sizes.items() if size is not None}


def _shape(row: Invocation, event: Any, output: Any, large: list[str]) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "id": str(row.pk),
        "function_id": str(row.function_id),
        "function_name": row.function_name,
        "version": row.version,
        "alias_used": row.alias_used,
        "environment": row.environment,
        "trigger_type": row.trigger_type,
        "status": row.status,
        "input": event,
        "output": output,
        "truncated": large,
        "omitted": _omitted(row),
        "error": row.error,
        "error_type": row.error_type,
        "stack_trace": row.stack_trace,
        "cold_start": row.start_kind == "cold",
        "start_kind": row.start_kind,
        "attempt": row.attempt,
        "retry_count": max(0, row.attempt - 1),
        "attempts": row.attempts,
        "next_attempt_at": row.next_attempt_at if row.status == Status.PENDING else None,
        "started_at": row.started_at,
        "completed_at": row.completed_at,
        "duration_ms": row.duration_ms,
        "queue_ms": row.queue_ms,
        "billed_time_ms": row.billed_time_ms,
        "memory_used_mb": row.memory_used_mb,
        "session_key": row.session_key,
        "dead_letter_id": str(row.dead_letter_id) if row.dead_letter_id else None,
        "request_id": row.request_id,
        "created_at": row.created_at,
    }
    return {k: v for k, v in shape.items() if k in _ALWAYS or (v is not None and v not in ("", [], {}))}


def log_line_shapes(lines: Lines) -> list[dict[str, Any]]:
    return [{"timestamp": _rfc3339(at), "stream": stream, "message": text} for at, stream, text in lines]


def _rfc3339(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
