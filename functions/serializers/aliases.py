"""Shapes of requests and answers about aliases."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from functions.models import Alias
from functions.routing import weights_problem
from functions.serializers.functions import TextField
from functions.serializers.strict import StrictSerializer
from functions.serializers.versions import AliasNameField


class SideSerializer(serializers.Serializer):
    version = serializers.IntegerField(min_value=1)
    weight = serializers.IntegerField(min_value=0, max_value=100, help_text="percent")


@extend_schema_field(SideSerializer(many=True))
class WeightsField(serializers.Field):
    """``[{"version", "weight"}]`` that keeps every rule which needs no database."""

    def to_internal_value(self, data: Any) -> list[dict[str, int]]:
        if not isinstance(data, list):
            raise serializers.ValidationError('Must be a list of {"version", "weight"}.')
        for side in data:
            if not isinstance(side, dict) or set(side) != {"version", "weight"}:
                raise serializers.ValidationError('Each must be {"version", "weight"} and nothing else.')
        if problem := weights_problem(data):
            raise serializers.ValidationError(problem)
        return data

    def to_representation(self, value: list[dict[str, int]]) -> list[dict[str, int]]:
        return value


class RoutingConfigSerializer(StrictSerializer):
    weights = WeightsField(help_text="sum to 100 over distinct versions")


class AliasCreateSerializer(StrictSerializer):
    passed_over: ClassVar = frozenset({"created_at", "updated_at"})

    name = AliasNameField()
    description = TextField(required=False, allow_blank=True, max_length=4096)
    routing_config = RoutingConfigSerializer()


class AliasUpdateSerializer(StrictSerializer):
    """What is absent stays as it is."""

    passed_over: ClassVar = frozenset({"created_at", "updated_at"})

    name = TextField(required=False, help_text="Can't change.")
    description = TextField(required=False, allow_blank=True, max_length=4096)
    routing_config = RoutingConfigSerializer(required=False)


class AliasSerializer(serializers.Serializer):
    """An alias in an answer."""

    name = serializers.CharField()
    description = serializers.CharField(required=False)
    routing_config = RoutingConfigSerializer()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class AliasListSerializer(serializers.Serializer):
    aliases = AliasSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


def alias_shape(alias: Alias) -> dict[str, Any]:
    """An alias as the contract has it."""
    shape: dict[str, Any] = {"name": alias.name}
    if alias.description:
        shape["description"] = alias.description
    weights = {"weights": alias.weights}
    return shape | {"routing_config": weights, "created_at": alias.created_at, "updated_at": alias.updated_at}
