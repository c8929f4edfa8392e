"""Shapes of requests and answers about environments."""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.validators import RegexValidator
from rest_framework import serializers

from functions.models import Environment, FunctionEnvironment
from functions.selectors import NAME_PATTERN
from functions.serializers.functions import EnvVarsField, TextField
from functions.serializers.strict import StrictSerializer


class EnvironmentCreateSerializer(StrictSerializer):
    name = TextField(
        max_length=64,
        trim_whitespace=False,
        validators=[
            RegexValidator(
                NAME_PATTERN[:-1] + r"\Z",
                "Must start with a letter and have letters, digits, _ and - only, at most 64.",
            )
        ],
    )
    description = TextField(required=False, allow_blank=True, max_length=4096)


class EnvironmentUpdateSerializer(StrictSerializer):
    passed_over: ClassVar = frozenset({"id", "created_at", "updated_at"})

    name = TextField(required=False, help_text="Can't change.")
    description = TextField(required=False, allow_blank=True, max_length=4096)


class EnvironmentSerializer(serializers.Serializer):
    """An environment in an answer."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField(required=False)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class EnvironmentListSerializer(serializers.Serializer):
    environments = EnvironmentSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class OverridesSerializer(StrictSerializer):
    """What an environment changes of a function. Absent or null: as the version has it."""

    passed_over: ClassVar = frozenset({"environment", "environment_id", "function_id", "updated_at"})

    env_vars = EnvVarsField(required=False, help_text="added to the version's; one of the same name wins")
    memory_mb = serializers.IntegerField(required=False, allow_null=True, min_value=128, max_value=3072)
    timeout_sec = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=300)
    active_alias = TextField(
        required=False, allow_blank=True, max_length=64, help_text="runs unless the call names an alias or a version"
    )


class FunctionEnvironmentSerializer(OverridesSerializer):
    """The same in an answer."""

    environment = serializers.CharField(help_text="its name")
    environment_id = serializers.UUIDField()
    function_id = serializers.UUIDField()
    updated_at = serializers.DateTimeField(required=False, help_text="absent while nothing is changed")


def environment_shape(environment: Environment) -> dict[str, Any]:
    """Empty optional fields left out."""
    shape = {
        "id": str(environment.pk),
        "name": environment.name,
        "description": environment.description,
        "created_at": environment.created_at,
        "updated_at": environment.updated_at,
    }
    return {key: value for key, value in shape.items() if key != "description" or value}


def overrides_shape(environment: Environment, row: FunctionEnvironment) -> dict[str, Any]:
    shape = {
        "environment": environment.name,
        "environment_id": str(environment.pk),
        "function_id": str(row.function_id),
        "env_vars": row.env_vars,
        "memory_mb": row.memory_mb,
        "timeout_sec": row.timeout_sec,
        "active_alias": row.active_alias,
    }
    return shape if row.pk is None else shape | {"updated_at": row.updated_at}
