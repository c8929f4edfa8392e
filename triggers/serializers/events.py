"""Shapes of requests and answers about events and replays."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from rest_framework import serializers

from functions.serializers.strict import StrictSerializer, TextField
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.pagination import moment_from
from triggers.bus import Accepted
from triggers.models import LIVE, DeliveryStatus, Event, EventDelivery, EventReplay, ReplayStatus

EVENT_STATUSES = (("waiting", "waiting"), ("fanned_out", "fanned_out"))


class CloudEventSerializer(serializers.Serializer):
    """A CloudEvent 1.0 in its JSON form; more attributes (lower-case letters and digits) are extensions."""

    specversion = serializers.CharField(help_text="1.0")
    id = serializers.CharField(help_text="the same source and id are accepted once")
    source = serializers.CharField(help_text="URI-reference")  # type: ignore[assignment]  # DRF's metaclass takes it away
    type = serializers.CharField()
    subject = serializers.CharField(required=False)
    time = serializers.DateTimeField(required=False)
    datacontenttype = serializers.CharField(required=False)
    dataschema = serializers.CharField(required=False, help_text="URI")
    data = serializers.JSONField(required=False)  # type: ignore[assignment]  # DRF's metaclass takes it away
    data_base64 = serializers.CharField(required=False, help_text="instead of data")


class AcceptedEventSerializer(serializers.Serializer):
    id = serializers.UUIDField(help_text="for `GET /events/{id}`; of a duplicate, that of the first")
    event_id = serializers.CharField(help_text="the CloudEvent's own id")
    source = serializers.CharField()  # type: ignore[assignment]  # DRF's metaclass takes it away
    duplicate = serializers.BooleanField(help_text="it was accepted before; nothing more comes of it")


class EventsAcceptedSerializer(serializers.Serializer):
    events = AcceptedEventSerializer(many=True)
    accepted = serializers.IntegerField(help_text="new ones")
    duplicates = serializers.IntegerField()
    request_id = serializers.CharField()


class EventRowSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    event_id = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]  # DRF's metaclass takes it away
    type = serializers.CharField()
    subject = serializers.CharField(required=False)
    status = serializers.ChoiceField(
        choices=EVENT_STATUSES, help_text="fanned_out: rules were looked up, their deliveries stored"
    )
    error = serializers.CharField(required=False, help_text="why not all rules were")
    accepted_at = serializers.DateTimeField()
    size_bytes = serializers.IntegerField(help_text="of its JSON form")


class EventListSerializer(serializers.Serializer):
    events = EventRowSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()
    next_cursor = serializers.CharField(required=False)


class EventDeliverySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    rule_id = serializers.UUIDField()
    rule = serializers.CharField(help_text="its name")
    target = serializers.IntegerField(help_text="its place among the rule's, from 0")
    function_id = serializers.UUIDField(required=False, help_text="this, or a workflow's")
    function = serializers.CharField(required=False)
    workflow_id = serializers.UUIDField(required=False)
    workflow = serializers.CharField(required=False)
    replay_id = serializers.UUIDField(required=False)
    status = serializers.ChoiceField(choices=DeliveryStatus.choices)
    invocation_id = serializers.UUIDField(required=False)
    execution_id = serializers.UUIDField(required=False, help_text="of a workflow")
    attempts = serializers.IntegerField()
    next_attempt_at = serializers.DateTimeField(required=False)
    error = serializers.CharField(required=False)
    created_at = serializers.DateTimeField()
    delivered_at = serializers.DateTimeField(required=False)


class EventSerializer(EventRowSerializer):
    event = CloudEventSerializer()
    hops = serializers.IntegerField(help_text="triggers on the way here from the first event of a chain")
    fanned_out_at = serializers.DateTimeField(required=False)
    deliveries = EventDeliverySerializer(many=True)


class MomentField(serializers.DateTimeField):
    """A time as lists take it, in UTC: DRF's own overflows near the ends of the calendar."""

    def to_internal_value(self, value: Any) -> datetime:
        try:
            moment = moment_from({"time": value}, "time") if isinstance(value, str) else None
        except InvalidRequest:
            moment = None
        if moment is None:
            raise serializers.ValidationError("Must be a time such as 2026-01-31T12:00:00Z (RFC 3339).")
        return moment


class ReplayStartSerializer(StrictSerializer):
    """`from` is a word of Python's, so the fields are made below."""

    rule = TextField(required=False, allow_blank=True, help_text="id or name; all rules that you see without it")

    def get_fields(self) -> dict[str, Any]:
        start = MomentField(help_text="accepted at or after")
        end = MomentField(help_text="accepted before")
        return {"from": start, "to": end, **super().get_fields()}


class ReplaySerializer(serializers.Serializer):
    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=ReplayStatus.choices)
    rule_id = serializers.UUIDField(required=False)
    rule = serializers.CharField(required=False)
    events = serializers.IntegerField(help_text="dealt with so far")
    deliveries = serializers.IntegerField(help_text="made of them")
    created_at = serializers.DateTimeField()
    completed_at = serializers.DateTimeField(required=False)

    def get_fields(self) -> dict[str, Any]:
        return {**super().get_fields(), "from": serializers.DateTimeField(), "to": serializers.DateTimeField()}


class ReplayListSerializer(serializers.Serializer):
    replays = ReplaySerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


def accepted_shape(accepted: Sequence[Accepted], request_id: str) -> dict[str, Any]:
    shown = [
        {"id": str(one.id), "event_id": one.event.id, "source": one.event.source, "duplicate": one.is_duplicate}
        for one in accepted
    ]
    duplicates = sum(one.is_duplicate for one in accepted)
    return {
        "events": shown,
        "accepted": len(shown) - duplicates,
        "duplicates": duplicates,
        "request_id": request_id,
    }


def event_row_shape(event: Event, size_bytes: int) -> dict[str, Any]:
    """Empty optional fields left out."""
    shape = {
        "id": str(event.pk),
        "event_id": event.event_id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "status": "waiting" if event.fanned_out_at is None else "fanned_out",
        "error": event.error,
        "accepted_at": event.accepted_at,
        "size_bytes": size_bytes,
    }
    return {key: value for key, value in shape.items() if value or key not in ("subject", "error")}


def event_shape(event: Event, deliveries: Sequence[EventDelivery]) -> dict[str, Any]:
    body = bytes(event.body)
    more: dict[str, Any] = {
        "event": orjson.Fragment(body),
        "hops": event.hops,
        "deliveries": [delivery_shape(row) for row in deliveries],
    }
    if event.fanned_out_at is not None:
        more["fanned_out_at"] = event.fanned_out_at
    return event_row_shape(event, len(body)) | more


def delivery_shape(row: EventDelivery) -> dict[str, Any]:
    """What has not happened left out."""
    shape = {
        "id": str(row.pk),
        "rule_id": str(row.rule_id),
        "rule": row.rule_name,
        "target": row.target,
        "function_id": str(row.function_id) if row.function_id else None,
        "function": row.function_name or None,
        "workflow_id": str(row.workflow_id) if row.workflow_id else None,
        "workflow": row.workflow_name or None,
        "replay_id": str(row.replay_id) if row.replay_id != LIVE else None,
        "status": str(row.status),
        "invocation_id": str(row.invocation_id) if row.invocation_id else None,
        "execution_id": str(row.execution_id) if row.execution_id else None,
        "attempts": row.attempts,
        "next_attempt_at": row.next_attempt_at,
        "error": row.error or None,
        "created_at": row.created_at,
        "delivered_at": row.delivered_at,
    }
    return {key: value for key, value in shape.items() if value is not None}


def replay_shape(row: EventReplay) -> dict[str, Any]:
    shape = {
        "id": str(row.pk),
        "status": str(row.status),
        "from": row.starts_at,
        "to": row.ends_at,
        "rule_id": str(row.rule_id) if row.rule_id else None,
        "rule": row.rule_name or None,
        "events": row.events,
        "deliveries": row.deliveries,
        "created_at": row.created_at,
        "completed_at": row.completed_at,
    }
    return {key: value for key, value in shape.items() if value is not None}
