"""Routes of layers: parse, call a service or selector, shape the answer."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from functions import layers, packages
from functions.api.functions import query_parameter
from functions.selectors import function_get
from functions.serializers.layers import (
    FunctionLayersSerializer,
    FunctionLayersSetSerializer,
    LayerContentSerializer,
    LayerCreateSerializer,
    LayerFileSerializer,
    LayerListSerializer,
    LayerSerializer,
    LayerVersionListSerializer,
    LayerVersionSerializer,
    function_layers_shape,
    layer_shape,
    layer_version_shape,
)
from nimbus_project.core.errors import TooLarge
from nimbus_project.core.pagination import page_from
from nimbus_project.core.parsers import StrictJsonParser


class LayersApi(APIView):
    """Create layers and list them."""

    serializer_class = LayerCreateSerializer

    @extend_schema(
        operation_id="layer_list",
        parameters=[
            query_parameter("offset", "rows to pass over", OpenApiTypes.INT),
            query_parameter("limit", "rows to answer with, at most 100", OpenApiTypes.INT),
        ],
        responses=LayerListSerializer,
    )
    def get(self, request: Request) -> Response:
        page = page_from(request.query_params)
        rows = layers.layers_visible()
        shown = [layer_shape(row) for row in rows[page.offset : page.offset + page.limit]]
        return Response(page.answer("layers", shown, rows.count()))

    @extend_schema(
        operation_id="layer_create",
        request=LayerCreateSerializer,
        responses={201: LayerSerializer},
        examples=[
            OpenApiExample(
                "for Python", value={"name": "images", "compatible_runtimes": ["python3.11"]}, request_only=True
            )
        ],
    )
    def post(self, request: Request) -> Response:
        given = LayerCreateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = given.validated_data
        content = packages.decoded("content", values.pop("content")) if "content" in values else None
        made = layers.layer_create(content=content, **values)
        return Response(layer_shape(made), status=status.HTTP_201_CREATED)


class LayerApi(APIView):
    """One layer, by id or name."""

    @extend_schema(operation_id="layer_get", responses=LayerSerializer)
    def get(self, request: Request, reference: str) -> Response:
        return Response(layer_shape(layers.layer_get(reference)))

    @extend_schema(operation_id="layer_delete", responses={204: None})
    def delete(self, request: Request, reference: str) -> Response:
        layers.layer_delete(reference)
        return Response(status=status.HTTP_204_NO_CONTENT)


class LayerVersionsApi(APIView):
    """The versions of a layer, newest first; publish one as a form with the file `content`, or as JSON."""

    serializer_class = LayerFileSerializer
    parser_classes = (MultiPartParser, StrictJsonParser)

    @extend_schema(operation_id="layer_version_list", responses=LayerVersionListSerializer)
    def get(self, request: Request, reference: str) -> Response:
        rows = [layer_version_shape(row) for row in layers.layer_get(reference).versions.all()]
        return Response({"versions": rows, "total": len(rows)})

    @extend_schema(
        operation_id="layer_version_create",
        request={"multipart/form-data": LayerFileSerializer, "application/json": LayerContentSerializer},
        responses={201: LayerVersionSerializer},
    )
    def post(self, request: Request, reference: str) -> Response:
        made = layers.layer_publish(reference, _content(request))
        return Response(layer_version_shape(made), status=status.HTTP_201_CREATED)


class FunctionLayersApi(APIView):
    """The layers of a function's newest version, in order; setting them makes a new version."""

    serializer_class = FunctionLayersSetSerializer

    @extend_schema(operation_id="function_layers_get", responses=FunctionLayersSerializer)
    def get(self, request: Request, reference: str) -> Response:
        function = function_get(reference)
        return Response(function_layers_shape(layers.function_layers(function), function.last_number))

    @extend_schema(
        operation_id="function_layers_set",
        request=FunctionLayersSetSerializer,
        responses=FunctionLayersSerializer,
        examples=[OpenApiExample("two", value={"layers": ["images", "fonts:3"]}, request_only=True)],
    )
    def put(self, request: Request, reference: str) -> Response:
        given = FunctionLayersSetSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        function = layers.function_layers_set(reference, given.validated_data["layers"])
        return Response(function_layers_shape(layers.function_layers(function), function.last_number))


def _content(request: Request) -> bytes:
    if request.content_type.startswith("multipart/"):
        form = LayerFileSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        data: bytes = form.validated_data["content"].read(packages.MAX_BINARY_BYTES + 1)
        if len(data) > packages.MAX_BINARY_BYTES:
            raise TooLarge(f"The zip is too large: at most {packages.MAX_BINARY_BYTES} bytes are allowed.")
        return data
    given = LayerContentSerializer(data=request.data)
    given.is_valid(raise_exception=True)
    return packages.decoded("content", given.validated_data["content"])
