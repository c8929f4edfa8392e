"""Routes of environments, and of what each changes about a function."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from functions import environments
from functions.selectors import function_get
from functions.serializers.environments import (
    EnvironmentCreateSerializer,
    EnvironmentListSerializer,
    EnvironmentSerializer,
    EnvironmentUpdateSerializer,
    FunctionEnvironmentSerializer,
    OverridesSerializer,
    environment_shape,
    overrides_shape,
)
from nimbus_project.core.pagination import page_from

_PAGE = [
    OpenApiParameter("offset", OpenApiTypes.INT, description="rows to pass over"),
    OpenApiParameter("limit", OpenApiTypes.INT, description="rows to answer with, at most 100"),
]
_STAGING = {"env_vars": {"API_URL": "https://staging.example"}, "memory_mb": 512, "active_alias": "next"}


class EnvironmentsApi(APIView):
    """Make environments and list them."""

    serializer_class = EnvironmentCreateSerializer

    @extend_schema(operation_id="environment_list", parameters=_PAGE, responses=EnvironmentListSerializer)
    def get(self, request: Request) -> Response:
        page = page_from(request.query_params)
        rows = environments.environments()
        shown = [environment_shape(row) for row in rows[page.offset : page.offset + page.limit]]
        return Response(page.answer("environments", shown, rows.count()))

    @extend_schema(
        operation_id="environment_create",
        request=EnvironmentCreateSerializer,
        responses={201: EnvironmentSerializer},
        examples=[OpenApiExample("staging", value={"name": "staging"}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        given = EnvironmentCreateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        environment = environments.environment_create(**given.validated_data)
        return Response(environment_shape(environment), status=status.HTTP_201_CREATED)


class EnvironmentApi(APIView):
    """One environment, by id or name."""

    serializer_class = EnvironmentUpdateSerializer

    @extend_schema(operation_id="environment_get", responses=EnvironmentSerializer)
    def get(self, request: Request, reference: str) -> Response:
        return Response(environment_shape(environments.environment_get(reference)))

    @extend_schema(
        operation_id="environment_update", request=EnvironmentUpdateSerializer, responses=EnvironmentSerializer
    )
    def put(self, request: Request, reference: str) -> Response:
        given = EnvironmentUpdateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return Response(environment_shape(environments.environment_update(reference, **given.validated_data)))

    @extend_schema(operation_id="environment_delete", responses={204: None})
    def delete(self, request: Request, reference: str) -> Response:
        environments.environment_delete(reference)
        return Response(status=status.HTTP_204_NO_CONTENT)


class FunctionEnvironmentApi(APIView):
    """What one environment changes of one function, for calls with `?environment=`."""

    serializer_class = OverridesSerializer

    @extend_schema(operation_id="function_environment_get", responses=FunctionEnvironmentSerializer)
    def get(self, request: Request, reference: str, environment: str) -> Response:
        return Response(overrides_shape(*environments.overrides_get(function_get(reference), environment)))

    @extend_schema(
        operation_id="function_environment_set",
        request=OverridesSerializer,
        responses=FunctionEnvironmentSerializer,
        examples=[OpenApiExample("staging", value=_STAGING, request_only=True)],
    )
    def put(self, request: Request, reference: str, environment: str) -> Response:
        given = OverridesSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        row = environments.overrides_set(reference, environment, given.validated_data)
        return Response(overrides_shape(row.environment, row))

    @extend_schema(operation_id="function_environment_delete", responses={204: None})
    def delete(self, request: Request, reference: str, environment: str) -> Response:
        environments.overrides_delete(reference, environment)
        return Response(status=status.HTTP_204_NO_CONTENT)
