"""Shapes of requests and answers about many functions at once."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from functions.bulk import MAX_ITEMS, BulkResult
from functions.models import FunctionStatus
from functions.serializers.functions import TagsField, TextField
from functions.serializers.strict import StrictSerializer

_STATUSES = [FunctionStatus.ACTIVE.value, FunctionStatus.OFFLINE.value]


class BulkSerializer(StrictSerializer):
    ids = serializers.ListField(
        child=TextField(max_length=64, trim_whitespace=False),
        allow_empty=False,
        max_length=MAX_ITEMS,
        help_text=f"ids or names, at most {MAX_ITEMS}",
    )


class BulkUpdateSerializer(BulkSerializer):
    status = serializers.ChoiceField(required=False, choices=_STATUSES)
    tags = TagsField(required=False, help_text="replace those that are there")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.keys() == {"ids"}:
            raise serializers.ValidationError("Give status or tags, or both.")
        return attrs


class FailureSerializer(serializers.Serializer):
    id = serializers.CharField(help_text="as it was given")
    error = serializers.CharField()


class BulkResultSerializer(serializers.Serializer):
    """What became of each; one function is there once, under the first of its names that was given."""

    success = serializers.ListField(child=serializers.CharField())
    failed = FailureSerializer(many=True)


def bulk_shape(result: BulkResult) -> dict[str, Any]:
    return {"success": result.success, "failed": [{"id": one.id, "error": one.error} for one in result.failed]}
