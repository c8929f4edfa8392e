"""Shapes of requests and answers about retention."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from functions.serializers.strict import StrictSerializer
from triggers.retention import NAMES, Pruned, Wanted

MAX_DAYS = 36_500


class CleanupSerializer(StrictSerializer):
    older_than_days = serializers.IntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=MAX_DAYS,
        # In the settings 0 keeps for ever; who means that by it here must not lose all there is.
        error_messages={"min_value": "Must be at least 1: nothing younger than a day is deleted by hand."},
        help_text="at least 1; instead of what the settings say",
    )
    tables = serializers.ListField(
        child=serializers.ChoiceField(choices=NAMES), required=False, allow_empty=False, help_text="absent: all"
    )
    dry_run = serializers.BooleanField(required=False, default=False, help_text="count, delete nothing")

    def wanted(self) -> Wanted:
        """Of valid data."""
        given = self.validated_data
        return Wanted(given.get("older_than_days"), tuple(dict.fromkeys(given.get("tables", NAMES))))


class CleanedSerializer(serializers.Serializer):
    status = serializers.ChoiceField(choices=["completed", "queued", "dry_run"])
    deleted = serializers.DictField(child=serializers.IntegerField(), help_text="rows by table, so far")
    would_delete = serializers.DictField(child=serializers.IntegerField(), required=False, help_text="of a dry run")
    total = serializers.IntegerField(help_text="rows in all")
    message = serializers.CharField()


class TableSerializer(serializers.Serializer):
    name = serializers.CharField()
    rows = serializers.IntegerField()
    oldest = serializers.DateTimeField(allow_null=True)
    keep_days = serializers.IntegerField(help_text="0: for ever")
    expired = serializers.IntegerField(help_text="rows that the next night would delete")


class RetentionStatsSerializer(serializers.Serializer):
    tables = TableSerializer(many=True)
    rows = serializers.IntegerField(help_text="in all")
    expired = serializers.IntegerField(help_text="in all")
    hour_utc = serializers.IntegerField(help_text="when the nightly deletion begins")


def cleaned_shape(result: Pruned) -> dict[str, Any]:
    total = sum(result.deleted.values())
    rest = "" if result.is_complete else " The workers go on with the rest."
    return {
        "status": "completed" if result.is_complete else "queued",
        "deleted": result.deleted,
        "total": total,
        "message": f"{total} rows were deleted.{rest}",
    }


def dry_run_shape(counts: dict[str, int]) -> dict[str, Any]:
    total = sum(counts.values())
    message = f"{total} rows would be deleted."
    return {"status": "dry_run", "deleted": {}, "would_delete": counts, "total": total, "message": message}
