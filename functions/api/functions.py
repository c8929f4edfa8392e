"""Routes of functions: parse, call a service or selector, shape the answer."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from functions import selectors, services
from functions.models import Function
from functions.preconditions import etag, expected_from
from functions.serializers.functions import (
    FunctionCloneSerializer,
    FunctionCreatedSerializer,
    FunctionCreateSerializer,
    FunctionListSerializer,
    FunctionPinSerializer,
    FunctionSerializer,
    FunctionUpdateSerializer,
    function_shape,
    usage_shape,
)
from functions.usage import usage_of
from nimbus_project.core.pagination import page_from


def _answer(function: Function) -> dict[str, Any]:
    task = selectors.current_build(function)
    return function_shape(function, selectors.shown_version(function), code=True, task_id=str(task.pk) if task else "")


def created(function: Function) -> dict[str, Any]:
    """The answer to whatever has made a function."""
    shape = _answer(function)
    return shape | {"function": shape, "message": f"Function {shape['name']} is {shape['status']}."}


def tagged(function: Function) -> Response:
    """With its `ETag`, for `If-Match`."""
    return Response(_answer(function), headers={"ETag": etag(function.last_number)})


IF_MATCH = OpenApiParameter(
    "If-Match", str, OpenApiParameter.HEADER, description="the version number this change builds upon; else 412"
)


def query_parameter(name: str, about: str, kind: OpenApiTypes = OpenApiTypes.STR) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=about)


class FunctionsApi(APIView):
    """Create functions and list them."""

    serializer_class = FunctionCreateSerializer

    @extend_schema(
        operation_id="function_list",
        parameters=[
            query_parameter("name", "part of the name, upper and lower case alike"),
            query_parameter("tags", "comma list; all must be there"),
            query_parameter("runtime", "exactly this runtime"),
            query_parameter("status", "exactly this status"),
            query_parameter("ordering", "one of " + ", ".join(selectors.ORDERINGS) + "; - before it turns it round"),
            query_parameter("include", "`code` adds the source to each row"),
            query_parameter("offset", "rows to pass over", OpenApiTypes.INT),
            query_parameter("limit", "rows to answer with, at most 100", OpenApiTypes.INT),
        ],
        responses=FunctionListSerializer,
    )
    def get(self, request: Request) -> Response:
        query = request.query_params
        page = page_from(query)
        rows = selectors.functions_matching(selectors.FunctionFilter.from_query(query))
        shown = list(rows[page.offset : page.offset + page.limit])
        with_code = "code" in query.get("include", "").split(",")
        versions = selectors.latest_versions(shown, with_code=with_code)
        usage = usage_of([function.pk for function in shown])
        shapes = [
            function_shape(f, versions[f.pk], code=with_code) | usage_shape(usage.get(f.pk))
            for f in shown
            if f.pk in versions
        ]
        return Response(page.answer("functions", shapes, rows.count()))

    @extend_schema(
        operation_id="function_create",
        request=FunctionCreateSerializer,
        responses={201: FunctionCreatedSerializer},
    )
    def post(self, request: Request) -> Response:
        given = FunctionCreateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return Response(created(services.function_create(**given.validated_data)), status=status.HTTP_201_CREATED)


class FunctionApi(APIView):
    """One function, by id or name."""

    serializer_class = FunctionUpdateSerializer

    @extend_schema(operation_id="function_get", responses=FunctionSerializer)
    def get(self, request: Request, reference: str) -> Response:
        return tagged(selectors.function_get(reference))

    @extend_schema(
        operation_id="function_replace",
        parameters=[IF_MATCH],
        request=FunctionUpdateSerializer,
        responses=FunctionSerializer,
    )
    def put(self, request: Request, reference: str) -> Response:
        given = FunctionUpdateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        expected = expected_from(request.headers.get("If-Match"))
        return tagged(services.function_update(reference, expected=expected, **given.validated_data))

    @extend_schema(
        operation_id="function_update",
        parameters=[IF_MATCH],
        request=FunctionUpdateSerializer,
        responses=FunctionSerializer,
    )
    def patch(self, request: Request, reference: str) -> Response:
        return self.put(request, reference)

    @extend_schema(operation_id="function_delete", responses={204: None})
    def delete(self, request: Request, reference: str) -> Response:
        services.function_delete(reference)
        return Response(status=status.HTTP_204_NO_CONTENT)


class FunctionOfflineApi(APIView):
    """Take a function out of service: it answers no calls until it is put online again."""

    @extend_schema(operation_id="function_offline", request=None, responses=FunctionSerializer)
    def post(self, request: Request, reference: str) -> Response:
        return Response(_answer(services.function_set_online(reference, online=False)))


class FunctionOnlineApi(APIView):
    """Put a function back in service."""

    @extend_schema(operation_id="function_online", request=None, responses=FunctionSerializer)
    def post(self, request: Request, reference: str) -> Response:
        return Response(_answer(services.function_set_online(reference, online=True)))


class FunctionCloneApi(APIView):
    """Make another function of the same code and configuration. Its secrets, aliases and environments are not taken."""

    serializer_class = FunctionCloneSerializer

    @extend_schema(
        operation_id="function_clone",
        request=FunctionCloneSerializer,
        responses={201: FunctionSerializer},
        examples=[OpenApiExample("a copy", value={"name": "hello-again"}, request_only=True)],
    )
    def post(self, request: Request, reference: str) -> Response:
        given = FunctionCloneSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        made = services.function_clone(reference, given.validated_data["name"])
        return Response(_answer(made), status=status.HTTP_201_CREATED)


class FunctionRecompileApi(APIView):
    """Build the newest version of a function anew. It goes on serving meanwhile; `task_id` is the build."""

    @extend_schema(operation_id="function_recompile", request=None, responses={202: FunctionCreatedSerializer})
    def post(self, request: Request, reference: str) -> Response:
        return Response(created(services.function_recompile(reference)), status=status.HTTP_202_ACCEPTED)


class FunctionPinApi(APIView):
    """Keep a function at the top of lists: `{"pinned": true}` or `false`; without a body it turns round."""

    serializer_class = FunctionPinSerializer

    @extend_schema(operation_id="function_pin", request=FunctionPinSerializer, responses=FunctionSerializer)
    def post(self, request: Request, reference: str) -> Response:
        given = FunctionPinSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        pinned = given.validated_data.get("pinned")
        return Response(_answer(services.function_pin(reference, pinned=pinned)))
