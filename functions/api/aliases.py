"""Routes of aliases: parse, call a service or selector, shape the answer."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from functions import aliases
from functions.api.functions import query_parameter
from functions.selectors import function_get
from functions.serializers.aliases import (
    AliasCreateSerializer,
    AliasListSerializer,
    AliasSerializer,
    AliasUpdateSerializer,
    alias_shape,
)
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.pagination import page_from

PAGE = [
    query_parameter("offset", "rows to pass over", OpenApiTypes.INT),
    query_parameter("limit", "rows to answer with, at most 100", OpenApiTypes.INT),
]


class AliasesApi(APIView):
    """The aliases of a function, by name; make one. `latest` is always there and not listed."""

    serializer_class = AliasCreateSerializer

    @extend_schema(operation_id="alias_list", parameters=PAGE, responses=AliasListSerializer)
    def get(self, request: Request, reference: str) -> Response:
        page = page_from(request.query_params)
        rows = aliases.aliases_of(function_get(reference))
        shown = [alias_shape(row) for row in rows[page.offset : page.offset + page.limit]]
        return Response(page.answer("aliases", shown, rows.count()))

    @extend_schema(operation_id="alias_create", request=AliasCreateSerializer, responses={201: AliasSerializer})
    def post(self, request: Request, reference: str) -> Response:
        given = AliasCreateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = given.validated_data
        alias = aliases.alias_create(
            reference,
            name=values["name"],
            weights=values["routing_config"]["weights"],
            description=values.get("description", ""),
        )
        return Response(alias_shape(alias), status=status.HTTP_201_CREATED)


class AliasApi(APIView):
    """One alias of a function."""

    serializer_class = AliasUpdateSerializer

    @extend_schema(operation_id="alias_get", responses=AliasSerializer)
    def get(self, request: Request, reference: str, alias: str) -> Response:
        return Response(alias_shape(aliases.alias_get(function_get(reference), alias)))

    @extend_schema(
        operation_id="alias_update",
        description="What is absent stays as it is. 409 while a rollout moves its traffic.",
        request=AliasUpdateSerializer,
        responses=AliasSerializer,
    )
    def put(self, request: Request, reference: str, alias: str) -> Response:
        given = AliasUpdateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = given.validated_data
        if values.get("name", alias) != alias:
            message = "The name of an alias can't change. Make another one."
            raise InvalidRequest(message, details={"name": [message]})
        weights = values["routing_config"]["weights"] if "routing_config" in values else None
        row = aliases.alias_update(reference, alias, weights=weights, description=values.get("description"))
        return Response(alias_shape(row))

    @extend_schema(operation_id="alias_delete", responses={204: None})
    def delete(self, request: Request, reference: str, alias: str) -> Response:
        aliases.alias_delete(reference, alias)
        return Response(status=status.HTTP_204_NO_CONTENT)
