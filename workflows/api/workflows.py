"""Routes of workflows: parse, call a service or selector, shape the answer."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from nimbus_project.core.pagination import page_from
from workflows import selectors, services
from workflows.callees import callees
from workflows.definition import DefinitionInvalid
from workflows.serializers.workflows import (
    SAMPLE,
    WorkflowCreateSerializer,
    WorkflowListSerializer,
    WorkflowSerializer,
    WorkflowUpdateSerializer,
    WorkflowValidatedSerializer,
    WorkflowValidateSerializer,
    WorkflowVersionListSerializer,
    WorkflowVersionSerializer,
    validated_shape,
    version_row_shape,
    version_shape,
    workflow_row_shape,
    workflow_shape,
)

_PAGE = [
    OpenApiParameter("offset", OpenApiTypes.INT, description="rows to pass over"),
    OpenApiParameter("limit", OpenApiTypes.INT, description="rows to answer with, at most 100"),
]
_ORDER = {"name": "order", "description": "Charges a card.", "definition": SAMPLE}
_GREET = {"start_at": "Greet", "states": {"Greet": {"type": "task", "function_id": "hello", "end": True}}}


class WorkflowsApi(APIView):
    """Make workflows and list them, by name."""

    serializer_class = WorkflowCreateSerializer

    @extend_schema(
        operation_id="workflow_list",
        parameters=[OpenApiParameter("name", OpenApiTypes.STR, description="part of the name"), *_PAGE],
        responses=WorkflowListSerializer,
    )
    def get(self, request: Request) -> Response:
        page = page_from(request.query_params)
        rows = selectors.workflows(request.query_params.get("name", ""))
        shown = [workflow_row_shape(row) for row in rows[page.offset : page.offset + page.limit]]
        return Response(page.answer("workflows", shown, rows.count()))

    @extend_schema(
        operation_id="workflow_create",
        request=WorkflowCreateSerializer,
        responses={201: WorkflowSerializer},
        examples=[
            OpenApiExample("an order", value=_ORDER, request_only=True),
            OpenApiExample("snake_case", value={"name": "greet", "definition": _GREET}, request_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        given = WorkflowCreateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        made = services.workflow_create(**given.validated_data)
        return Response(workflow_shape(made), status=status.HTTP_201_CREATED)


class WorkflowApi(APIView):
    """One workflow, by id or name."""

    serializer_class = WorkflowUpdateSerializer

    @extend_schema(operation_id="workflow_get", responses=WorkflowSerializer)
    def get(self, request: Request, reference: str) -> Response:
        return Response(workflow_shape(selectors.workflow_get(reference)))

    @extend_schema(
        operation_id="workflow_replace",
        description="Absent fields stay as they are. Another definition is a new version; executions under way go on "
        "with theirs.",
        request=WorkflowUpdateSerializer,
        responses=WorkflowSerializer,
        examples=[OpenApiExample("another definition", value={"definition": SAMPLE}, request_only=True)],
    )
    def put(self, request: Request, reference: str) -> Response:
        given = WorkflowUpdateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return Response(workflow_shape(services.workflow_update(reference, **given.validated_data)))

    @extend_schema(
        operation_id="workflow_update",
        description="As PUT.",
        request=WorkflowUpdateSerializer,
        responses=WorkflowSerializer,
        examples=[OpenApiExample("another name", value={"name": "orders"}, request_only=True)],
    )
    def patch(self, request: Request, reference: str) -> Response:
        return self.put(request, reference)

    @extend_schema(
        operation_id="workflow_delete",
        description="Executions under way go on to their end, and the history of all stays.",
        responses={204: None},
    )
    def delete(self, request: Request, reference: str) -> Response:
        services.workflow_delete(reference)
        return Response(status=status.HTTP_204_NO_CONTENT)


class WorkflowValidateApi(APIView):
    """Say what is wrong with a definition, and what it calls. Nothing is stored and nobody called."""

    serializer_class = WorkflowValidateSerializer

    @extend_schema(
        operation_id="workflow_validate",
        request=WorkflowValidateSerializer,
        responses=WorkflowValidatedSerializer,
        examples=[OpenApiExample("an order", value={"definition": SAMPLE}, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        given = WorkflowValidateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        try:
            definition = services.parsed_definition(given.validated_data["definition"])
        except DefinitionInvalid as error:
            return Response(validated_shape(error.problems, ()))
        return Response(validated_shape((), callees(definition)))


class WorkflowVersionsApi(APIView):
    """The definitions that a workflow has and had, newest first."""

    @extend_schema(operation_id="workflow_version_list", parameters=_PAGE, responses=WorkflowVersionListSerializer)
    def get(self, request: Request, reference: str) -> Response:
        page = page_from(request.query_params)
        rows = selectors.versions_of(selectors.workflow_get(reference))
        shown = [version_row_shape(row) for row in rows[page.offset : page.offset + page.limit]]
        return Response(page.answer("versions", shown, rows.count()))


class WorkflowVersionApi(APIView):
    """One of them, with the definition."""

    @extend_schema(operation_id="workflow_version_get", responses=WorkflowVersionSerializer)
    def get(self, request: Request, reference: str, number: int) -> Response:
        return Response(version_shape(selectors.version_get(selectors.workflow_get(reference), number)))
