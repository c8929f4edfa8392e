"""Shapes of answers about reports."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from invocations.models import Report, ReportStatus


class ReportSerializer(serializers.Serializer):
    """A run's end on its way to a destination."""

    id = serializers.UUIDField(help_text="also the webhook-id, and the id of the event")
    invocation_id = serializers.UUIDField()
    function_id = serializers.UUIDField()
    function_name = serializers.CharField()
    destination = serializers.DictField(help_text="as the function had it when the run ended")
    status = serializers.ChoiceField(choices=ReportStatus.choices)
    attempts = serializers.IntegerField(help_text="tries begun")
    next_attempt_at = serializers.DateTimeField(required=False)
    error = serializers.CharField(required=False, help_text="of the last try")
    result_id = serializers.UUIDField(required=False, help_text="the invocation or the execution that it became")
    delivered_at = serializers.DateTimeField(required=False)
    created_at = serializers.DateTimeField()


_ALWAYS = frozenset(
    {"id", "invocation_id", "function_id", "function_name", "destination", "status", "attempts", "created_at"}
)


def report_shape(row: Report) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "id": str(row.pk),
        "invocation_id": str(row.invocation_id),
        "function_id": str(row.function_id),
        "function_name": row.function_name,
        "destination": row.destination,
        "status": row.status,
        "attempts": row.attempt,
        "next_attempt_at": row.next_attempt_at,
        "error": row.error,
        "result_id": str(row.result_id) if row.result_id else None,
        "delivered_at": row.delivered_at,
        "created_at": row.created_at,
    }
    return {key: value for key, value in shape.items() if key in _ALWAYS or value}
