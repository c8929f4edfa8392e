"""Shapes of requests and answers about alerts. No answer has a channel's secret, nor more of its address than the
host."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, ClassVar

from rest_framework import serializers

from functions.serializers.strict import NameField, StrictSerializer, TextField
from triggers.alert_channels import MAX_CHANNELS, MAX_SECRET, ChannelType
from triggers.alert_policy import Kind, State, Told
from triggers.alerts import shown_channels
from triggers.models import AlertChange, AlertNotification, AlertRule, NotificationStatus
from triggers.serializers.events import MomentField

KINDS = [(kind.value, kind.value) for kind in Kind]
STATES = [(state.value, state.value) for state in State]
TYPES = [(one.value, one.value) for one in ChannelType]
TOLD = [(one.value, one.value) for one in Told]
MAX_WINDOW_SEC = 86_400


class NumberField(serializers.FloatField):
    """A JSON number: DRF's own would also take "5", true and what is too large for a float."""

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            raise serializers.ValidationError("Must be a number.")
        value: float = super().to_internal_value(data)
        if not math.isfinite(value):
            raise serializers.ValidationError("Must be a number.")
        return value


class ChannelSerializer(StrictSerializer):
    passed_over: ClassVar = frozenset({"has_secret", "unreadable"})

    id = serializers.UUIDField(required=False, help_text="of one that the alert has: what is not given stays")
    type = serializers.ChoiceField(choices=TYPES)
    url = TextField(required=False, allow_blank=True, max_length=2048, help_text="webhook, slack")
    secret = TextField(
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        max_length=MAX_SECRET,
        write_only=True,
        help_text="webhook: messages are signed with it (Standard Webhooks)",
    )
    to = serializers.ListField(child=TextField(max_length=254), required=False, help_text="email: addresses")


class ShownChannelSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    type = serializers.ChoiceField(choices=TYPES)
    url = serializers.CharField(required=False, help_text="without its path, which may be secret")
    has_secret = serializers.BooleanField(required=False)
    to = serializers.ListField(child=serializers.CharField(), required=False)
    unreadable = serializers.BooleanField(required=False, help_text="no key opens it: give it again")


class AlertUpdateSerializer(StrictSerializer):
    """Absent: as it is."""

    passed_over: ClassVar[frozenset[str]] = frozenset(
        {
            "id", "function_id", "state", "state_since", "silenced_until", "last_value", "last_samples",
            "evaluated_at", "created_at", "updated_at",
        }
    )  # fmt: skip

    name = NameField(required=False)
    description = TextField(required=False, allow_blank=True, max_length=4096)
    kind = serializers.ChoiceField(choices=KINDS, required=False)
    function = TextField(required=False, allow_blank=True, help_text="id or name; empty: all of yours")
    threshold = NumberField(required=False, help_text="fires above it; rates are 0–1")
    window_sec = serializers.IntegerField(required=False, min_value=60, max_value=MAX_WINDOW_SEC)
    min_samples = serializers.IntegerField(
        required=False, min_value=1, max_value=10_000, help_text="runs before a rate or a percentile is judged"
    )
    channels = serializers.ListField(child=ChannelSerializer(), required=False, max_length=MAX_CHANNELS)
    enabled = serializers.BooleanField(required=False)


class AlertCreateSerializer(AlertUpdateSerializer):
    passed_over: ClassVar[frozenset[str]] = frozenset()

    name = NameField()
    kind = serializers.ChoiceField(choices=KINDS)
    threshold = NumberField(help_text="fires above it; rates are 0–1")
    window_sec = serializers.IntegerField(default=300, min_value=60, max_value=MAX_WINDOW_SEC)
    min_samples = serializers.IntegerField(
        default=10, min_value=1, max_value=10_000, help_text="runs before a rate or a percentile is judged"
    )


class AlertSerializer(serializers.Serializer):
    """An alert in an answer."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField(required=False)
    kind = serializers.ChoiceField(choices=KINDS)
    function_id = serializers.UUIDField(required=False)
    function = serializers.CharField(required=False, help_text="absent: all of its owner's")
    threshold = serializers.FloatField()
    window_sec = serializers.IntegerField()
    min_samples = serializers.IntegerField()
    channels = ShownChannelSerializer(many=True)
    enabled = serializers.BooleanField()
    state = serializers.ChoiceField(choices=STATES)
    state_since = serializers.DateTimeField()
    silenced_until = serializers.DateTimeField(required=False)
    last_value = serializers.FloatField(required=False)
    last_samples = serializers.IntegerField()
    evaluated_at = serializers.DateTimeField(required=False)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class AlertListSerializer(serializers.Serializer):
    alerts = AlertSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class SilenceSerializer(StrictSerializer):
    """One of the two."""

    until = MomentField(required=False)
    duration_sec = serializers.IntegerField(required=False, min_value=1, max_value=366 * 86_400)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs) != 1:
            raise serializers.ValidationError({"until": ["Give either until or duration_sec."]})
        return attrs


class AlertChangeSerializer(serializers.Serializer):
    at = serializers.DateTimeField()
    state = serializers.ChoiceField(choices=STATES)
    value = serializers.FloatField(required=False)
    samples = serializers.IntegerField()
    threshold = serializers.FloatField()
    reason = serializers.CharField()
    silenced = serializers.BooleanField()


class AlertHistorySerializer(serializers.Serializer):
    history = AlertChangeSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class NotificationSerializer(serializers.Serializer):
    id = serializers.UUIDField(help_text="also its webhook-id, where it is signed")
    channel_id = serializers.UUIDField()
    channel = serializers.CharField()
    told = serializers.ChoiceField(choices=TOLD)
    status = serializers.ChoiceField(choices=NotificationStatus.choices)
    attempts = serializers.IntegerField()
    next_attempt_at = serializers.DateTimeField(required=False)
    error = serializers.CharField(required=False)
    created_at = serializers.DateTimeField()
    delivered_at = serializers.DateTimeField(required=False)


class NotificationListSerializer(serializers.Serializer):
    notifications = NotificationSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class NotificationsSentSerializer(serializers.Serializer):
    notifications = NotificationSerializer(many=True)


def alert_shape(rule: AlertRule, now: datetime) -> dict[str, Any]:
    """Empty optional fields left out; a silence that is over is none."""
    silenced = rule.silenced_until is not None and rule.silenced_until > now
    shape: dict[str, Any] = {
        "id": str(rule.pk),
        "name": rule.name,
        "description": rule.description or None,
        "kind": rule.kind,
        "function_id": str(rule.function_id) if rule.function_id else None,
        "function": rule.function_name or None,
        "threshold": rule.threshold,
        "window_sec": rule.window_sec,
        "min_samples": rule.min_samples,
        "channels": shown_channels(rule),
        "enabled": rule.enabled,
        "state": str(rule.state),
        "state_since": rule.state_since,
        "silenced_until": rule.silenced_until if silenced else None,
        "last_value": rule.last_value,
        "last_samples": rule.last_samples,
        "evaluated_at": rule.evaluated_at,
        "created_at": rule.created_at,
        "updated_at": rule.updated_at,
    }
    return {key: value for key, value in shape.items() if value is not None}


def change_shape(row: AlertChange) -> dict[str, Any]:
    shape = {
        "at": row.at,
        "state": str(row.state),
        "value": row.value,
        "samples": row.samples,
        "threshold": row.threshold,
        "reason": row.reason,
        "silenced": row.silenced,
    }
    return {key: value for key, value in shape.items() if value is not None}


def notification_shape(row: AlertNotification) -> dict[str, Any]:
    shape = {
        "id": str(row.pk),
        "channel_id": str(row.channel_id),
        "channel": row.channel,
        "told": str(row.told),
        "status": str(row.status),
        "attempts": row.attempts,
        "next_attempt_at": row.next_attempt_at,
        "error": row.error or None,
        "created_at": row.created_at,
        "delivered_at": row.delivered_at,
    }
    return {key: value for key, value in shape.items() if value is not None}
