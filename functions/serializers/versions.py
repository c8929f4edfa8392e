"""Shapes of requests and answers about versions."""

from __future__ import annotations

from typing import Any

from django.core.validators import RegexValidator
from rest_framework import serializers

from functions.models import FunctionVersion, Network, PackageKind
from functions.packages import content
from functions.serializers.functions import TextField
from functions.serializers.strict import StrictSerializer
from functions.version_diff import Side


class AliasNameField(TextField):
    def __init__(self, **kwargs: Any) -> None:
        rule = "Must start with a letter and have letters, digits, _ and - only, at most 64."
        name = RegexValidator(r"^[A-Za-z][A-Za-z0-9_-]{0,63}\Z", rule)
        super().__init__(max_length=64, trim_whitespace=False, validators=[name], **kwargs)


class VersionPublishSerializer(StrictSerializer):
    description = TextField(required=False, allow_blank=True, max_length=4096)
    publish_alias = AliasNameField(required=False, help_text="send all calls through this alias to it")


class VersionSerializer(serializers.Serializer):
    """An immutable snapshot in an answer."""

    id = serializers.UUIDField()
    function_id = serializers.UUIDField()
    version = serializers.IntegerField()
    handler = serializers.CharField()
    language = serializers.CharField(required=False)
    code = serializers.CharField(required=False)
    code_hash = serializers.CharField(help_text="sha256")
    code_size = serializers.IntegerField(help_text="bytes")
    layers = serializers.ListField(child=serializers.CharField(), required=False)
    memory_mb = serializers.IntegerField()
    timeout_sec = serializers.IntegerField()
    env_vars = serializers.DictField(child=serializers.CharField())
    network = serializers.ChoiceField(choices=Network.choices)
    input_schema = serializers.DictField(required=False, help_text="JSON Schema of the events it takes")
    ready = serializers.BooleanField(help_text="false while it is being built, or when its build failed")
    description = serializers.CharField(required=False)
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField(allow_blank=True)


class VersionListSerializer(serializers.Serializer):
    versions = VersionSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class VersionDiffSerializer(serializers.Serializer):
    version = serializers.IntegerField()
    against = serializers.IntegerField(help_text="0: nothing, there is no older version")
    changed = serializers.ListField(child=serializers.CharField(), help_text="code and names of configuration")
    diff = serializers.CharField(allow_blank=True, help_text="unified diff; empty when nothing differs")


def version_shape(version: FunctionVersion, *, code: bool) -> dict[str, Any]:
    """A version as the contract has it; empty optional fields left out."""
    package = version.package
    shape: dict[str, Any] = {
        "id": str(version.pk),
        "function_id": str(version.function_id),
        "version": version.version,
        "handler": version.handler,
        "language": version.language,
        "code": bytes(package.data).decode() if code and package.kind == PackageKind.SOURCE else "",
        "code_hash": version.package_id,
        "code_size": package.size_bytes,
        "layers": version.layers,
        "memory_mb": version.memory_mb,
        "timeout_sec": version.timeout_sec,
        "env_vars": version.env_vars,
        "network": version.network,
        "input_schema": version.input_schema,
        "ready": version.is_ready,
        "description": version.description,
        "created_at": version.created_at,
        "created_by": version.created_by,
    }
    return {k: v for k, v in shape.items() if k not in _LEFT_OUT_WHEN_EMPTY or v}


_LEFT_OUT_WHEN_EMPTY = frozenset({"language", "code", "layers", "input_schema", "description"})


def diff_side(version: FunctionVersion, suffix: str) -> Side:
    """A version as the diff compares it. `suffix` of the runtime's source files, with the dot."""
    is_source = version.package.kind == PackageKind.SOURCE
    return Side(
        name=version.handler.split(".")[0] + suffix,
        code=content(version.package).decode() if is_source else None,
        code_hash=version.package_id,
        config={
            "handler": version.handler,
            "language": version.language,
            "layers": version.layers,
            "memory_mb": version.memory_mb,
            "timeout_sec": version.timeout_sec,
            "env_vars": version.env_vars,
            "network": version.network,
            "input_schema": version.input_schema,
        },
    )
