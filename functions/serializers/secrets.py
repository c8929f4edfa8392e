"""Shapes of requests and answers about secrets. No answer has a value."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from functions.models import Secret
from functions.serializers.functions import TextField
from functions.serializers.strict import StrictSerializer


class SecretValueSerializer(StrictSerializer):
    value = TextField(allow_blank=True, trim_whitespace=False, write_only=True, help_text="at most 16 KiB")


class SecretSerializer(serializers.Serializer):
    """A secret in an answer."""

    name = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField(help_text="when its value was last set")


class SecretListSerializer(serializers.Serializer):
    secrets = SecretSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


def secret_shape(secret: Secret) -> dict[str, Any]:
    return {"name": secret.name, "created_at": secret.created_at, "updated_at": secret.updated_at}
