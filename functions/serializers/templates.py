"""Shapes of requests and answers about templates."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from functions.serializers.functions import EnvVarsField, TagsField, TextField, function_name
from functions.serializers.strict import StrictSerializer
from functions.templates import Example


class FromTemplateSerializer(StrictSerializer):
    template = TextField(max_length=64, help_text="its name")
    name = function_name()
    description = TextField(required=False, allow_blank=True, max_length=4096)
    tags = TagsField(required=False)
    memory_mb = serializers.IntegerField(required=False, min_value=128, max_value=3072)
    timeout_sec = serializers.IntegerField(required=False, min_value=1, max_value=300)
    env_vars = EnvVarsField(required=False)


class TemplateSerializer(serializers.Serializer):
    name = serializers.CharField()
    title = serializers.CharField()
    description = serializers.CharField()
    runtime = serializers.CharField()
    language = serializers.CharField(required=False)
    handler = serializers.CharField()
    memory_mb = serializers.IntegerField()
    timeout_sec = serializers.IntegerField()
    file_name = serializers.CharField(help_text="of the source")
    code = serializers.CharField()
    event = serializers.JSONField(help_text="a sample event")


class TemplateListSerializer(serializers.Serializer):
    templates = TemplateSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


def template_shape(example: Example) -> dict[str, Any]:
    shown = ("runtime", "language", "handler", "memory_mb", "timeout_sec")
    return {
        "name": example.name,
        "title": example.title,
        "description": example.description,
        **{key: example.settings[key] for key in shown if key in example.settings},
        "file_name": next(iter(example.files)),
        "code": example.code,
        "event": example.event,
    }
