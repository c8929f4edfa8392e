"""Shapes of requests and answers about event rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import orjson
from rest_framework import serializers

from functions.serializers.strict import AnyJsonField, NameField, StrictSerializer, TextField
from triggers.event_rules import MAX_TARGETS, shown_targets
from triggers.models import EventRule
from triggers.patterns import Mismatch


class TargetSerializer(StrictSerializer):
    passed_over: ClassVar = frozenset({"function_id", "workflow_id"})

    function = TextField(required=False, help_text="id or name; of yours, or shared with you")
    workflow = TextField(required=False, help_text="id or name; instead of a function")
    alias = TextField(required=False, allow_blank=True, max_length=64, help_text="of a function")
    input_template = AnyJsonField(
        required=False, allow_null=True, help_text="what it is called with instead of the event: `<$.data.id>` in it"
    )


class EventRuleCreateSerializer(StrictSerializer):
    name = NameField()
    description = TextField(required=False, allow_blank=True, max_length=4096)
    pattern = AnyJsonField(help_text="as EventBridge's, over the CloudEvent's attributes and data")
    targets = serializers.ListField(child=TargetSerializer(), min_length=1, max_length=MAX_TARGETS)
    enabled = serializers.BooleanField(required=False)


class EventRuleUpdateSerializer(StrictSerializer):
    """Absent: as it is."""

    passed_over: ClassVar = frozenset({"id", "created_at", "updated_at"})

    name = NameField(required=False)
    description = TextField(required=False, allow_blank=True, max_length=4096)
    pattern = AnyJsonField(required=False)
    targets = serializers.ListField(child=TargetSerializer(), required=False, min_length=1, max_length=MAX_TARGETS)
    enabled = serializers.BooleanField(required=False)


class ShownTargetSerializer(serializers.Serializer):
    function_id = serializers.UUIDField(required=False, help_text="this, or a workflow's")
    function = serializers.CharField(required=False)
    workflow_id = serializers.UUIDField(required=False)
    workflow = serializers.CharField(required=False)
    alias = serializers.CharField(required=False)
    input_template = serializers.JSONField(required=False)


class EventRuleSerializer(serializers.Serializer):
    """A rule in an answer."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField(required=False)
    pattern = serializers.JSONField()
    targets = ShownTargetSerializer(many=True)
    enabled = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class EventRuleListSerializer(serializers.Serializer):
    event_rules = EventRuleSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class PatternTestSerializer(StrictSerializer):
    pattern = AnyJsonField()
    event = serializers.DictField(help_text="a CloudEvent in its JSON form, or any object")
    input_template = AnyJsonField(required=False, allow_null=True)


class MismatchSerializer(serializers.Serializer):
    path = serializers.CharField()
    wanted = serializers.JSONField(help_text="one of these")
    found = serializers.ListField(help_text="values that are there instead, at most 5")


class PatternTestedSerializer(serializers.Serializer):
    matched = serializers.BooleanField()
    mismatches = MismatchSerializer(many=True, help_text="why not")
    input = serializers.JSONField(required=False, allow_null=True, help_text="what the template makes of the event")


def rule_shape(rule: EventRule) -> dict[str, Any]:
    """Empty optional fields left out."""
    shape: dict[str, Any] = {
        "id": str(rule.pk),
        "name": rule.name,
        "description": rule.description,
        "pattern": orjson.Fragment(rule.pattern),
        "targets": shown_targets(rule),
        "enabled": rule.enabled,
        "created_at": rule.created_at,
        "updated_at": rule.updated_at,
    }
    return {key: value for key, value in shape.items() if value or key != "description"}


def tested_shape(mismatches: Sequence[Mismatch]) -> dict[str, Any]:
    shown = [{"path": one.path, "wanted": one.wanted, "found": one.found} for one in mismatches]
    return {"matched": not shown, "mismatches": shown}
