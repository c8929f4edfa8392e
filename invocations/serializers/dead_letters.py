"""Shapes of requests and answers about dead letters."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from functions.serializers.bulk import FailureSerializer
from functions.serializers.functions import TextField
from functions.serializers.strict import StrictSerializer
from invocations.models import DeadLetter, DeadLetterStatus, TriggerType
from invocations.redrive import MAX_AT_ONCE, Redriven
from invocations.retry import GaveUp
from invocations.serializers.invocations import as_it_came


class DeadLetterSerializer(serializers.Serializer):
    """An invocation that was given up on."""

    id = serializers.UUIDField()
    invocation_id = serializers.UUIDField()
    function_id = serializers.UUIDField()
    function_name = serializers.CharField()
    version = serializers.IntegerField()
    alias_used = serializers.CharField(required=False)
    environment = serializers.CharField(required=False)
    trigger_type = serializers.ChoiceField(choices=TriggerType.choices)
    status = serializers.ChoiceField(choices=DeadLetterStatus.choices)
    reason = serializers.ChoiceField(choices=[(r.value, r.value) for r in GaveUp])
    error = serializers.CharField()
    error_type = serializers.CharField()
    attempts = serializers.IntegerField(help_text="tries begun")
    input = serializers.JSONField(allow_null=True, help_text="the event")
    truncated = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="in lists: input, where it is too large to be shown"
    )
    retry_invocation_id = serializers.UUIDField(required=False, help_text="the invocation that a retry has made")
    resolved_at = serializers.DateTimeField(required=False)
    resolved_by = serializers.CharField(required=False)
    session_key = serializers.CharField(required=False)
    request_id = serializers.CharField()
    created_at = serializers.DateTimeField()


class DeadLetterListSerializer(serializers.Serializer):
    dead_letters = DeadLetterSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()
    next_cursor = serializers.CharField(required=False)


class FunctionDeadLettersSerializer(serializers.Serializer):
    function_id = serializers.UUIDField()
    function_name = serializers.CharField()
    pending = serializers.IntegerField()


class DeadLetterStatsSerializer(serializers.Serializer):
    total = serializers.IntegerField()
    by_status = serializers.DictField(child=serializers.IntegerField())
    by_reason = serializers.DictField(child=serializers.IntegerField(), help_text="of the pending ones")
    by_function = FunctionDeadLettersSerializer(many=True, help_text="those with most pending ones, at most 20")
    oldest_pending_at = serializers.DateTimeField(required=False)


class RetryManySerializer(StrictSerializer):
    """One of the two."""

    ids = serializers.ListField(
        child=TextField(max_length=64),
        required=False,
        allow_empty=False,
        max_length=MAX_AT_ONCE,
        help_text=f"of dead letters, at most {MAX_AT_ONCE}",
    )
    function_id = TextField(
        required=False, max_length=64, help_text=f"id or name: its oldest pending ones, at most {MAX_AT_ONCE}"
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("ids" in attrs) == ("function_id" in attrs):
            raise serializers.ValidationError({"ids": ["Give either ids or function_id."]})
        return attrs


class RetriedSerializer(serializers.Serializer):
    id = serializers.UUIDField(help_text="of the dead letter")
    invocation_id = serializers.UUIDField(help_text="what runs now")


class RetryManyResultSerializer(serializers.Serializer):
    success = serializers.ListField(child=serializers.UUIDField(), help_text="ids of dead letters")
    failed = FailureSerializer(many=True)
    retried = RetriedSerializer(many=True)
    remaining = serializers.IntegerField(help_text="with function_id: pending ones left for the next request")


class DeletedCountSerializer(serializers.Serializer):
    deleted = serializers.IntegerField()


_ALWAYS = frozenset(
    {"id", "invocation_id", "function_id", "function_name", "version", "trigger_type", "status", "reason", "error"}
    | {"error_type", "attempts", "input", "request_id", "created_at"}
)


def dead_letter_shape(row: DeadLetter) -> dict[str, Any]:
    """One, whole."""
    return _shape(row, row.input, [])


def dead_letter_row_shape(row: Any) -> dict[str, Any]:
    """One of a list (`dead_letters.listed`)."""
    return _shape(row, row.listed_input, [] if row.listed_input is not None else ["input"])


def _shape(row: DeadLetter, event: Any, truncated: list[str]) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "id": str(row.pk),
        "invocation_id": str(row.invocation_id),
        "function_id": str(row.function_id),
        "function_name": row.function_name,
        "version": row.version,
        "alias_used": row.alias_used,
        "environment": row.environment,
        "trigger_type": row.trigger_type,
        "status": row.status,
        "reason": row.reason,
        "error": row.error,
        "error_type": row.error_type,
        "attempts": row.attempts,
        "input": as_it_came(event),
        "truncated": truncated,
        "retry_invocation_id": str(row.retry_invocation_id) if row.retry_invocation_id else None,
        "resolved_at": row.resolved_at,
        "resolved_by": row.resolved_by,
        "session_key": row.session_key,
        "request_id": row.request_id,
        "created_at": row.created_at,
    }
    return {key: value for key, value in shape.items() if key in _ALWAYS or value}


def redriven_shape(done: Redriven) -> dict[str, Any]:
    return {
        "success": [str(letter_id) for letter_id, _ in done.retried],
        "failed": [{"id": reference, "error": error} for reference, error in done.failed],
        "retried": [{"id": str(letter_id), "invocation_id": str(run_id)} for letter_id, run_id in done.retried],
        "remaining": done.remaining,
    }
