"""Shapes of requests and answers about schedules."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.core.validators import RegexValidator
from rest_framework import serializers

from functions import cron
from functions.selectors import NAME_PATTERN
from functions.serializers.functions import TextField
from functions.serializers.strict import AnyJsonField, StrictSerializer
from triggers import own_schedules
from triggers.models import CatchUp, FireStatus, Overlap, Schedule, ScheduleFire


def _name() -> TextField:
    rule = "Must start with a letter and have letters, digits, _ and - only, at most 64."
    pattern = RegexValidator(NAME_PATTERN[:-1] + r"\Z", rule)
    about = "unique among the function's or the workflow's schedules; made when absent"
    return TextField(required=False, max_length=64, trim_whitespace=False, validators=[pattern], help_text=about)


class ScheduleFieldsSerializer(StrictSerializer):
    """What both creating and updating take."""

    function = TextField(required=False, max_length=64, trim_whitespace=False, help_text="id or name")
    workflow = TextField(
        required=False, max_length=64, trim_whitespace=False, help_text="id or name; instead of a function"
    )
    name = _name()
    description = TextField(required=False, allow_blank=True, max_length=4096)
    cron_expression = TextField(
        max_length=255, validators=[cron.check_expression], help_text="5 fields, or 6 with seconds first"
    )
    cron_timezone = TextField(
        required=False, max_length=64, validators=[cron.check_timezone], help_text="such as Europe/Berlin; UTC"
    )
    payload = AnyJsonField(required=False, allow_null=True, help_text="any JSON; the event's `payload`")
    alias = TextField(required=False, allow_blank=True, max_length=64, help_text="of a function")
    version = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=2**31 - 1, help_text="of a function"
    )
    catch_up_policy = serializers.ChoiceField(
        required=False, choices=CatchUp.choices, help_text="what becomes of fire times that nothing ticked for; skip"
    )
    overlap_policy = serializers.ChoiceField(
        required=False, choices=Overlap.choices, help_text="what a tick does while an earlier run goes on; allow"
    )
    enabled = serializers.BooleanField(required=False, help_text="false: paused")

    def validate_name(self, value: str) -> str:
        own = self.instance is not None and self.instance.is_own
        if value == own_schedules.NAME and not own:
            raise serializers.ValidationError("Is the name of a function's own schedule. Choose another one.")
        return value


class ScheduleCreateSerializer(ScheduleFieldsSerializer):
    pass


class ScheduleUpdateSerializer(ScheduleFieldsSerializer):
    """All of it optional; what it runs can't change."""

    function = TextField(required=False, max_length=64, trim_whitespace=False, help_text="Can't change.")
    workflow = TextField(required=False, max_length=64, trim_whitespace=False, help_text="Can't change.")
    cron_expression = TextField(required=False, max_length=255, validators=[cron.check_expression])


class ScheduleSerializer(serializers.Serializer):
    """A schedule in an answer."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField(required=False)
    function_id = serializers.UUIDField(required=False, help_text="this, or a workflow's")
    function_name = serializers.CharField(required=False)
    workflow_id = serializers.UUIDField(required=False)
    workflow_name = serializers.CharField(required=False)
    own = serializers.BooleanField(help_text="it stands for the function's own cron_expression")
    cron_expression = serializers.CharField()
    cron_timezone = serializers.CharField()
    payload = serializers.JSONField(required=False)
    alias = serializers.CharField(required=False)
    version = serializers.IntegerField(required=False)
    catch_up_policy = serializers.ChoiceField(choices=CatchUp.choices)
    overlap_policy = serializers.ChoiceField(choices=Overlap.choices)
    enabled = serializers.BooleanField()
    next_fire_at = serializers.DateTimeField(required=False, help_text="absent while it is paused")
    last_fire_at = serializers.DateTimeField(required=False)
    created_by = serializers.CharField(required=False)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class ScheduleListSerializer(serializers.Serializer):
    schedules = ScheduleSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class ScheduleNextSerializer(serializers.Serializer):
    schedule_id = serializers.UUIDField()
    cron_expression = serializers.CharField()
    cron_timezone = serializers.CharField()
    enabled = serializers.BooleanField()
    next_fire_times = serializers.ListField(child=serializers.DateTimeField(), help_text="the next ten, in UTC")


class FireSerializer(serializers.Serializer):
    """What came of one fire time."""

    fire_time = serializers.DateTimeField(help_text="when it was due")
    status = serializers.ChoiceField(choices=FireStatus.choices)
    reason = serializers.CharField(required=False)
    by_request = serializers.BooleanField()
    catch_up = serializers.BooleanField()
    missed = serializers.IntegerField(required=False, help_text="fire times that a missed one stands for")
    invocation_id = serializers.UUIDField(required=False)
    invocation_status = serializers.CharField(required=False, help_text="absent when retention has taken the run")
    execution_id = serializers.UUIDField(required=False, help_text="of a workflow's schedule")
    execution_status = serializers.CharField(required=False, help_text="absent when retention has taken the run")
    created_at = serializers.DateTimeField(help_text="when it was dealt with")


class RanSerializer(serializers.Serializer):
    """A run that was asked for."""

    request_id = serializers.CharField()
    invocation_id = serializers.UUIDField(required=False, help_text="of a function")
    execution_id = serializers.UUIDField(required=False, help_text="of a workflow")
    status = serializers.CharField(help_text="accepted")


class FireListSerializer(serializers.Serializer):
    history = FireSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


# A client may send back what it got; what it can't set is passed over.
ScheduleFieldsSerializer.passed_over = frozenset(ScheduleSerializer().fields) - frozenset(
    ScheduleFieldsSerializer().fields
)

_ALWAYS = frozenset(
    {"id", "name", "own", "cron_expression", "cron_timezone", "enabled"}
    | {"catch_up_policy", "overlap_policy", "created_at", "updated_at"}
)
_ALWAYS_OF_FIRE = frozenset({"fire_time", "status", "by_request", "catch_up", "created_at"})


def schedule_shape(row: Schedule) -> dict[str, Any]:
    """A schedule with what it runs; empty optional fields left out."""
    kind = "workflow" if row.workflow_id else "function"
    shape: dict[str, Any] = {
        "id": str(row.pk),
        "name": row.name,
        "description": row.description,
        f"{kind}_id": str(row.target.pk),
        f"{kind}_name": row.target.name,
        "own": row.is_own,
        "cron_expression": row.cron_expression,
        "cron_timezone": row.cron_timezone,
        "payload": None if row.payload is None else orjson.Fragment(bytes(row.payload)),
        "alias": row.alias,
        "version": row.version,
        "catch_up_policy": row.catch_up_policy,
        "overlap_policy": row.overlap_policy,
        "enabled": row.enabled,
        "next_fire_at": row.next_fire_at,
        "last_fire_at": row.last_fire_at,
        "created_by": row.created_by,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
    return {k: v for k, v in shape.items() if k in _ALWAYS or (v is not None and v != "")}


def ran_shape(fire: ScheduleFire, request_id: str) -> dict[str, str]:
    run = {"invocation_id": fire.invocation_id, "execution_id": fire.execution_id}
    return {"request_id": request_id, **{k: str(v) for k, v in run.items() if v}, "status": "accepted"}


def next_shape(row: Schedule, times: list[datetime]) -> dict[str, Any]:
    return {
        "schedule_id": str(row.pk),
        "cron_expression": row.cron_expression,
        "cron_timezone": row.cron_timezone,
        "enabled": row.enabled,
        "next_fire_times": times,
    }


def fire_shape(fire: ScheduleFire, statuses: Mapping[UUID, str]) -> dict[str, Any]:
    """One line of history; `statuses`: of the invocations and executions that are still there."""
    shape: dict[str, Any] = {
        "fire_time": fire.fire_time,
        "status": fire.status,
        "reason": fire.reason,
        "by_request": fire.by_request,
        "catch_up": fire.is_catch_up,
        "missed": fire.missed,
        "invocation_id": str(fire.invocation_id) if fire.invocation_id else "",
        "invocation_status": statuses.get(fire.invocation_id, "") if fire.invocation_id else "",
        "execution_id": str(fire.execution_id) if fire.execution_id else "",
        "execution_status": statuses.get(fire.execution_id, "") if fire.execution_id else "",
        "created_at": fire.created_at,
    }
    return {k: v for k, v in shape.items() if k in _ALWAYS_OF_FIRE or v}
