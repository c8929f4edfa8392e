"""Shapes of functions on their way from one platform to another (`functions/manifest.py`), and of the answer to an
import."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from functions.manifest import MAX_FUNCTIONS
from functions.models import Network, PackageKind
from functions.runtimes import RUNTIMES
from functions.serializers.aliases import RoutingConfigSerializer
from functions.serializers.functions import (
    DestinationField,
    EnvVarsField,
    InputSchemaField,
    TagsField,
    TextField,
    cron_expression,
    cron_timezone,
    function_name,
    handler_name,
)
from functions.serializers.strict import StrictSerializer
from functions.serializers.versions import AliasNameField
from functions.transfer import ImportResult, OnConflict

MAX_VERSIONS = 200
MAX_ALIASES = 100


class ExportSerializer(StrictSerializer):
    ids = serializers.ListField(
        child=TextField(max_length=64, trim_whitespace=False),
        required=False,
        allow_empty=False,
        max_length=MAX_FUNCTIONS,
        help_text="ids or names; absent: all that you may see",
    )


class ImportFileSerializer(serializers.Serializer):
    file = serializers.FileField()


class TravellingVersionSerializer(serializers.Serializer):
    number = serializers.IntegerField(min_value=1, max_value=2**31 - 1)
    handler = handler_name()
    language = TextField(required=False, allow_blank=True, max_length=16, default="")
    memory_mb = serializers.IntegerField(min_value=128, max_value=3072)
    timeout_sec = serializers.IntegerField(min_value=1, max_value=300)
    env_vars = EnvVarsField(required=False, default=dict)
    network = serializers.ChoiceField(choices=Network.choices, default=Network.NONE)
    input_schema = InputSchemaField(required=False, default=dict)
    kind = serializers.ChoiceField(choices=PackageKind.choices)
    file = TextField(max_length=512, trim_whitespace=False)
    sha256 = TextField(max_length=64)


class TravellingAliasSerializer(serializers.Serializer):
    name = AliasNameField()
    description = TextField(required=False, allow_blank=True, max_length=4096, default="")
    routing_config = RoutingConfigSerializer()


class TravellingFunctionSerializer(serializers.Serializer):
    """One entry of the manifest."""

    name = function_name()
    runtime = serializers.ChoiceField(choices=[(r.name, r.title) for r in RUNTIMES.values()])
    description = TextField(required=False, allow_blank=True, max_length=4096, default="")
    tags = TagsField(required=False, default=list)
    pinned = serializers.BooleanField(required=False, default=False)
    max_concurrency = serializers.IntegerField(required=False, default=0, min_value=0, max_value=10_000)
    max_retries = serializers.IntegerField(required=False, default=2, min_value=0, max_value=10)
    max_event_age_sec = serializers.IntegerField(required=False, default=21600, min_value=60, max_value=86_400 * 7)
    on_success = DestinationField(required=False)
    on_failure = DestinationField(required=False)
    cron_expression = cron_expression()
    cron_timezone = cron_timezone()
    versions = serializers.ListField(child=TravellingVersionSerializer(), allow_empty=False, max_length=MAX_VERSIONS)
    aliases = serializers.ListField(
        child=TravellingAliasSerializer(), required=False, default=list, max_length=MAX_ALIASES
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        numbers = [version["number"] for version in attrs["versions"]]
        if numbers != sorted(set(numbers)):
            raise serializers.ValidationError({"versions": ["Must be in ascending order, each number once."]})
        for alias in attrs["aliases"]:
            if any(side["version"] not in numbers for side in alias["routing_config"]["weights"]):
                raise serializers.ValidationError({"aliases": [f"{alias['name']} names a version that is not there."]})
        return attrs


class ImportedSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    version = serializers.IntegerField(help_text="the newest now")
    renamed_from = serializers.CharField(required=False)


class SkippedSerializer(serializers.Serializer):
    name = serializers.CharField()
    reason = serializers.CharField()


class NotImportedSerializer(serializers.Serializer):
    name = serializers.CharField()
    error = serializers.CharField()


class ImportResultSerializer(serializers.Serializer):
    imported = ImportedSerializer(many=True)
    skipped = SkippedSerializer(many=True)
    failed = NotImportedSerializer(many=True)


ON_CONFLICT = [choice.value for choice in OnConflict]


def import_shape(result: ImportResult) -> dict[str, Any]:
    return {
        "imported": [
            {"id": str(one.id), "name": one.name, "version": one.version}
            | ({"renamed_from": one.renamed_from} if one.renamed_from else {})
            for one in result.imported
        ],
        "skipped": [{"name": name, "reason": reason} for name, reason in result.skipped],
        "failed": [{"name": name, "error": error} for name, error in result.failed],
    }
