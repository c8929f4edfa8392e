"""Shapes of requests and answers about functions."""

from __future__ import annotations

import re
from typing import Any

from django.core.validators import RegexValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from functions import cron, destinations, input_schema
from functions.models import Function, FunctionStatus, FunctionVersion, HttpAuth, Network
from functions.packages import MAX_BINARY_BYTES, MAX_SOURCE_BYTES
from functions.runtimes import RUNTIMES
from functions.selectors import MAX_TAGS, NAME_PATTERN
from functions.serializers.routes import CorsSerializer, HttpMethodsField, HttpPathField
from functions.serializers.strict import TextField
from functions.usage import Usage
from functions.webhook_keys import url_of

MAX_ENV_BYTES = 4096
_HANDLER_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_$][A-Za-z0-9_$]*)+\Z"
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class CodeField(TextField):
    """Source text, kept to the byte."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        value = super().to_internal_value(data)
        size = len(value.encode())
        if size > MAX_SOURCE_BYTES:
            raise serializers.ValidationError(
                f"Is {size} bytes long; at most {MAX_SOURCE_BYTES} (512 KiB) are allowed."
            )
        return value


class Base64Field(TextField):
    """Base64 text; what is in it is checked where it is used."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=True, **kwargs)


class EnvVarsField(serializers.DictField):
    """``{NAME: "value"}``, at most 4 KiB in all."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=TextField(allow_blank=True, trim_whitespace=False), **kwargs)

    def to_internal_value(self, data: Any) -> dict[str, str]:
        value: dict[str, str] = super().to_internal_value(data)
        for name in value:
            if not _ENV_NAME.match(name):
                raise serializers.ValidationError(f"{name[:64]!r} is not a valid name: letters, digits and _ only.")
            if name.upper().startswith("NIMBUS_"):
                raise serializers.ValidationError(f"{name[:64]}: names that start with NIMBUS_ are the platform's.")
        size = sum(len(name.encode()) + len(text.encode()) for name, text in value.items())
        if size > MAX_ENV_BYTES:
            raise serializers.ValidationError(f"Are {size} bytes in all; at most {MAX_ENV_BYTES} (4 KiB) are allowed.")
        return value


@extend_schema_field({"type": "object", "additionalProperties": True, "nullable": True})
class InputSchemaField(serializers.Field):
    """A JSON Schema; null and ``{}`` are none."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_null=True, **kwargs)

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        return (True, {}) if data is None else super().validate_empty_values(data)

    def to_internal_value(self, data: Any) -> Any:
        if problems := input_schema.problems_of(data):
            raise serializers.ValidationError({place or "non_field_errors": why for place, why in problems.items()})
        return data

    def to_representation(self, value: Any) -> Any:
        return value


_DESTINATION: dict[str, Any] = {
    "description": "a function as `name`, `name:alias` or `name:3`, a URL, or an object (docs/async.md); null: nowhere",
    "oneOf": [{"type": "string"}, {"type": "object", "additionalProperties": True}],
    "nullable": True,
    "example": {"function": "notify:prod"},
}


@extend_schema_field(_DESTINATION)
class DestinationField(serializers.Field):
    """Where a finished queued run is reported (`functions/destinations.py`)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_null=True, **kwargs)

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        return (True, {}) if data is None else super().validate_empty_values(data)

    def to_internal_value(self, data: Any) -> Any:
        try:
            return destinations.parse(data)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None

    def to_representation(self, value: Any) -> Any:
        return value


class TagsField(serializers.ListField):
    def __init__(self, **kwargs: Any) -> None:
        tag = TextField(max_length=64, validators=[RegexValidator(r"^[^,]+\Z", "Must not contain a comma.")])
        super().__init__(child=tag, max_length=MAX_TAGS, **kwargs)


def handler_name(*, required: bool = True) -> TextField:
    return TextField(
        required=required,
        max_length=128,
        trim_whitespace=False,
        validators=[RegexValidator(_HANDLER_PATTERN, "Must be module.function, such as handler.main.")],
    )


def cron_expression() -> TextField:
    return TextField(
        required=False,
        allow_blank=True,
        max_length=255,
        validators=[cron.check_expression],
        help_text="when it runs by itself: 5 fields, or 6 with seconds first; empty: not",
    )


def cron_timezone() -> TextField:
    about = "of the cron_expression, such as Europe/Berlin; UTC"
    return TextField(required=False, max_length=64, validators=[cron.check_timezone], help_text=about)


class FunctionConfigSerializer(serializers.Serializer):
    """What both creating and updating take."""

    description = TextField(required=False, allow_blank=True, max_length=4096)
    tags = TagsField(required=False)
    pinned = serializers.BooleanField(required=False)
    shared = serializers.BooleanField(required=False, help_text="every developer sees and changes it")
    memory_mb = serializers.IntegerField(required=False, min_value=128, max_value=3072)
    timeout_sec = serializers.IntegerField(required=False, min_value=1, max_value=300)
    max_concurrency = serializers.IntegerField(required=False, min_value=0, max_value=10_000)
    max_retries = serializers.IntegerField(required=False, min_value=0, max_value=10)
    max_event_age_sec = serializers.IntegerField(required=False, min_value=60, max_value=86_400 * 7)
    on_success = DestinationField(required=False, help_text="where an async run that succeeded is reported")
    on_failure = DestinationField(required=False, help_text="the same for one that failed for good")
    env_vars = EnvVarsField(required=False)
    network = serializers.ChoiceField(required=False, choices=Network.choices)
    language = serializers.ChoiceField(required=False, choices=["rust", "c", "go"], help_text="of a wasm source")
    input_schema = InputSchemaField(
        required=False, help_text="JSON Schema, at most 16 KiB: other events of invoke and async are refused"
    )
    http_path = HttpPathField(required=False)
    http_methods = HttpMethodsField(required=False)
    http_auth = serializers.ChoiceField(
        required=False, choices=HttpAuth.choices, help_text="who may call http_path: everybody, or who may invoke"
    )
    cors = CorsSerializer(required=False, allow_null=True, help_text="pages of other sites that may call http_path")
    cron_expression = cron_expression()
    cron_timezone = cron_timezone()
    code = CodeField(required=False, help_text="one source file")
    binary = Base64Field(required=False, help_text="base64 of a Linux program or a WebAssembly module")
    archive = Base64Field(required=False, help_text="base64 of a zip of a project folder")

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(set(data) - set(self.fields) - READ_ONLY)
            if unknown:
                raise serializers.ValidationError({str(name)[:64]: ["There is no such field."] for name in unknown})
        return super().to_internal_value(data)


def function_name() -> TextField:
    return TextField(
        max_length=64,
        trim_whitespace=False,
        validators=[
            RegexValidator(
                NAME_PATTERN[:-1] + r"\Z",
                "Must start with a letter and have letters, digits, _ and - only, at most 64.",
            )
        ],
    )


class FunctionCreateSerializer(FunctionConfigSerializer):
    name = function_name()
    runtime = serializers.ChoiceField(choices=[(r.name, r.title) for r in RUNTIMES.values()])
    handler = handler_name()


class FunctionUpdateSerializer(FunctionConfigSerializer):
    name = TextField(required=False, trim_whitespace=False, help_text="Can't change.")
    runtime = TextField(required=False, trim_whitespace=False, help_text="Can't change.")
    handler = handler_name(required=False)


class FunctionCloneSerializer(serializers.Serializer):
    name = function_name()


class FunctionPinSerializer(serializers.Serializer):
    pinned = serializers.BooleanField(required=False, help_text="absent: the other way round than it is")


class FunctionSerializer(serializers.Serializer):
    """A function in an answer."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField(required=False)
    tags = serializers.ListField(child=serializers.CharField())
    pinned = serializers.BooleanField()
    shared = serializers.BooleanField()
    runtime = serializers.ChoiceField(choices=[(r.name, r.title) for r in RUNTIMES.values()])
    handler = serializers.CharField()
    code = serializers.CharField(required=False)
    code_hash = serializers.CharField(help_text="sha256")
    code_size = serializers.IntegerField(help_text="bytes")
    code_size_limit = serializers.IntegerField(help_text="bytes")
    memory_mb = serializers.IntegerField()
    timeout_sec = serializers.IntegerField()
    max_concurrency = serializers.IntegerField(help_text="0: no limit of its own")
    env_vars = serializers.DictField(child=serializers.CharField())
    network = serializers.ChoiceField(choices=Network.choices)
    status = serializers.ChoiceField(choices=FunctionStatus.choices)
    status_message = serializers.CharField(required=False)
    task_id = serializers.UUIDField(required=False, help_text="of the build under way")
    version = serializers.IntegerField(help_text="the newest that can run; 0 while the first is being built")
    language = serializers.CharField(required=False)
    input_schema = serializers.DictField(required=False, help_text="JSON Schema of the events it takes")
    max_retries = serializers.IntegerField()
    max_event_age_sec = serializers.IntegerField()
    on_success = serializers.DictField(required=False)
    on_failure = serializers.DictField(required=False)
    http_path = serializers.CharField(required=False)
    http_methods = serializers.ListField(child=serializers.CharField(), required=False)
    http_auth = serializers.ChoiceField(choices=HttpAuth.choices, required=False)
    cors = CorsSerializer(required=False)
    cron_expression = serializers.CharField(required=False)
    cron_timezone = serializers.CharField(required=False, help_text="of the cron_expression")
    webhook_enabled = serializers.BooleanField()
    webhook_url = serializers.CharField(required=False, help_text="for those only who may change the function")
    last_deployed_at = serializers.DateTimeField(required=False)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class FunctionRowSerializer(FunctionSerializer):
    """A function in a list, with the last 24 hours."""

    invocations = serializers.IntegerField()
    success_rate = serializers.FloatField(help_text="0–100", allow_null=True)
    avg_latency_ms = serializers.FloatField(allow_null=True)


class FunctionCreatedSerializer(FunctionSerializer):
    function = FunctionSerializer()
    task_id = serializers.UUIDField(required=False)
    message = serializers.CharField()


class FunctionListSerializer(serializers.Serializer):
    functions = FunctionRowSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


# A client may send back what it got; what it can't set is passed over.
READ_ONLY = frozenset(FunctionRowSerializer().fields)


def function_shape(function: Function, version: FunctionVersion, *, code: bool, task_id: str = "") -> dict[str, Any]:
    """A function as the contract has it; empty optional fields left out."""
    shape: dict[str, Any] = {
        "id": str(function.pk),
        "name": function.name,
        "description": function.description,
        "tags": [row.name for row in function.tag_rows.all()],
        "pinned": function.pinned,
        "shared": function.shared,
        "runtime": function.runtime,
        "handler": version.handler,
        "code": bytes(version.package.data).decode() if code and version.package.kind == "source" else "",
        "language": version.language,
        "code_hash": version.package_id,
        "code_size": version.package.size_bytes,
        "code_size_limit": MAX_SOURCE_BYTES if version.package.kind == "source" else MAX_BINARY_BYTES,
        "memory_mb": version.memory_mb,
        "timeout_sec": version.timeout_sec,
        "max_concurrency": function.max_concurrency,
        "env_vars": version.env_vars,
        "network": version.network,
        "input_schema": version.input_schema,
        "status": function.status,
        "status_message": function.status_message,
        "task_id": task_id,
        "version": function.latest_version,
        "max_retries": function.max_retries,
        "max_event_age_sec": function.max_event_age_sec,
        "on_success": function.on_success,
        "on_failure": function.on_failure,
        "cron_expression": function.cron_expression,
        "cron_timezone": function.cron_timezone if function.cron_expression else "",
        "http_path": function.http_path,
        "http_methods": function.http_methods,
        "http_auth": function.http_auth if function.http_path else "",
        "cors": function.cors,
        "webhook_enabled": function.webhook_enabled,
        "webhook_url": url_of(function),
        "last_deployed_at": function.last_deployed_at,
        "created_at": function.created_at,
        "updated_at": function.updated_at,
    }
    return {k: v for k, v in shape.items() if k not in _LEFT_OUT_WHEN_EMPTY or v}


_LEFT_OUT_WHEN_EMPTY = frozenset(
    {
        "description", "code", "language", "input_schema", "status_message", "task_id", "last_deployed_at",
        "http_path", "http_methods", "http_auth", "cors", "webhook_url", "cron_expression", "cron_timezone",
        "on_success", "on_failure",
    }
)  # fmt: skip


def usage_shape(usage: Usage | None) -> dict[str, Any]:
    """The last 24 hours of one function."""
    if usage is None or usage.invocations == 0:
        return {"invocations": 0, "success_rate": None, "avg_latency_ms": None}
    return {
        "invocations": usage.invocations,
        "success_rate": round(100 * usage.successes / usage.invocations, 2),
        "avg_latency_ms": None if usage.avg_latency_ms is None else round(usage.avg_latency_ms, 3),
    }
