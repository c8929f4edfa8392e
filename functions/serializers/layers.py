"""Shapes of requests and answers about layers."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from functions.layers import FOLDERS, MAX_OF_FUNCTION
from functions.models import Layer, LayerVersion
from functions.serializers.functions import Base64Field, TextField, function_name
from functions.serializers.strict import StrictSerializer


class LayerCreateSerializer(StrictSerializer):
    name = function_name()
    description = TextField(required=False, allow_blank=True, max_length=4096)
    compatible_runtimes = serializers.ListField(
        child=serializers.ChoiceField(choices=list(FOLDERS)), allow_empty=False, max_length=len(FOLDERS)
    )
    shared = serializers.BooleanField(required=False, help_text="every developer sees and uses it")
    content = Base64Field(required=False, help_text="base64 of a zip with python/… or nodejs/node_modules/…: version 1")


class LayerContentSerializer(StrictSerializer):
    """As JSON."""

    content = Base64Field(help_text="base64 of a zip with python/… or nodejs/node_modules/…")


class LayerFileSerializer(StrictSerializer):
    """As a form."""

    content = serializers.FileField(help_text="a zip with python/… or nodejs/node_modules/…")


class LayerVersionSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    layer_id = serializers.UUIDField()
    version = serializers.IntegerField()
    sha256 = serializers.CharField(help_text="of the packed files")
    size_bytes = serializers.IntegerField()
    created_at = serializers.DateTimeField()


class LayerSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField(required=False)
    compatible_runtimes = serializers.ListField(child=serializers.ChoiceField(choices=list(FOLDERS)))
    shared = serializers.BooleanField()
    latest_version = serializers.IntegerField(help_text="0: none yet")
    versions = LayerVersionSerializer(many=True, help_text="newest first")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class LayerListSerializer(serializers.Serializer):
    layers = LayerSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class LayerVersionListSerializer(serializers.Serializer):
    versions = LayerVersionSerializer(many=True)
    total = serializers.IntegerField()


class FunctionLayersSetSerializer(StrictSerializer):
    layers = serializers.ListField(
        child=TextField(max_length=80),
        max_length=MAX_OF_FUNCTION,
        help_text="ids or names, each with :version or without for the newest; a later one wins",
    )


class FunctionLayerSerializer(LayerVersionSerializer):
    name = serializers.CharField(help_text="of the layer")


class FunctionLayersSerializer(serializers.Serializer):
    layers = FunctionLayerSerializer(many=True, help_text="of the newest version, in order")
    total = serializers.IntegerField()
    version = serializers.IntegerField(help_text="of the function")


def layer_version_shape(row: LayerVersion) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "layer_id": str(row.layer_id),
        "version": row.version,
        "sha256": row.sha256,
        "size_bytes": row.size_bytes,
        "created_at": row.created_at,
    }


def layer_shape(layer: Layer) -> dict[str, Any]:
    """Empty optional fields left out."""
    shape = {
        "id": str(layer.pk),
        "name": layer.name,
        "description": layer.description,
        "compatible_runtimes": layer.compatible_runtimes,
        "shared": layer.shared,
        "latest_version": layer.last_number,
        "versions": [layer_version_shape(row) for row in layer.versions.all()],
        "created_at": layer.created_at,
        "updated_at": layer.updated_at,
    }
    return {key: value for key, value in shape.items() if key != "description" or value}


def function_layers_shape(rows: list[LayerVersion], version: int) -> dict[str, Any]:
    layers = [{"name": row.layer.name, **layer_version_shape(row)} for row in rows]
    return {"layers": layers, "total": len(layers), "version": version}
