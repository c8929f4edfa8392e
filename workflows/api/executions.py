"""Routes of executions: parse, call a service or selector, shape the answer."""

from __future__ import annotations

from typing import Any

import orjson
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from invocations import hops, idempotency
from invocations.models import TriggerType
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.pagination import cursor_after, page_from
from workflows import selectors, services
from workflows.models import ExecutionStatus
from workflows.selectors import ExecutionFilter
from workflows.serializers.executions import (
    ExecutionListSerializer,
    ExecutionSerializer,
    ExecutionStartSerializer,
    ExecutionStopSerializer,
    HistorySerializer,
    StepSerializer,
    execution_row_shape,
    execution_shape,
    step_row_shape,
    step_shape,
    stopped_shape,
)

MAX_INPUT_DEPTH = 254


def _query(name: str, about: str, kind: OpenApiTypes = OpenApiTypes.STR, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=about, **more)


_PAGE = [
    _query("offset", "rows to pass over", OpenApiTypes.INT),
    _query("limit", "rows to answer with, at most 100", OpenApiTypes.INT),
]
_CURSOR = _query("cursor", "next_cursor of the answer before, instead of offset")
_STATUS = _query("status", "exactly this status", enum=ExecutionStatus.values)
_KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="within a day, the same key and body of a caller is the same execution; with another body 409",
)


class ExecutionsApi(APIView):
    """Executions, newest first."""

    @extend_schema(
        operation_id="execution_list",
        parameters=[_query("workflow", "id or name"), _STATUS, *_PAGE, _CURSOR],
        responses=ExecutionListSerializer,
    )
    def get(self, request: Request) -> Response:
        reference = request.query_params.get("workflow", "")
        workflow_id = selectors.workflow_id_of(reference) if reference else None
        return Response(_list(request, ExecutionFilter.from_query(request.query_params, workflow_id)))


class WorkflowExecutionsApi(APIView):
    """Executions of one workflow, newest first; and new ones."""

    serializer_class = ExecutionStartSerializer

    @extend_schema(
        operation_id="workflow_execution_list",
        parameters=[_STATUS, *_PAGE, _CURSOR],
        responses=ExecutionListSerializer,
    )
    def get(self, request: Request, reference: str) -> Response:
        workflow = selectors.workflow_get(reference)
        return Response(_list(request, ExecutionFilter.from_query(request.query_params, workflow.pk)))

    @extend_schema(
        operation_id="workflow_execution_start",
        description="202 once it is safely stored. With the name of an execution that is under way and has the same "
        "input, that one is the answer; any other execution of that name is a 409.",
        parameters=[_KEY],
        request=ExecutionStartSerializer,
        responses={202: ExecutionSerializer},
        examples=[
            OpenApiExample("an order", value={"name": "order-4711", "input": {"card": "…"}}, request_only=True),
            OpenApiExample("without input", value={}, request_only=True),
        ],
    )
    def post(self, request: Request, reference: str) -> Response:
        workflow = selectors.workflow_get(reference)
        given = ExecutionStartSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        key = request.headers.get("Idempotency-Key", "")
        row = services.execution_request(
            workflow,
            _input_text(given.validated_data.get("input", {})),
            name=given.validated_data.get("name", ""),
            idempotency_key=idempotency.check(key) if key else "",
            trigger_type=TriggerType.HTTP,
            request_id=request_id_var.get(),
            hops=hops.told(request.headers.get(hops.HEADER.decode())),
        )
        return Response(execution_shape(row), status=status.HTTP_202_ACCEPTED)


class ExecutionApi(APIView):
    """One execution."""

    @extend_schema(operation_id="execution_get", responses=ExecutionSerializer)
    def get(self, request: Request, reference: str) -> Response:
        return Response(execution_shape(selectors.execution_get(reference)))


class ExecutionHistoryApi(APIView):
    """The steps of an execution in the order they were entered, each visit of a state one."""

    @extend_schema(operation_id="execution_history", parameters=_PAGE, responses=HistorySerializer)
    def get(self, request: Request, reference: str) -> Response:
        page = page_from(request.query_params)
        rows = selectors.history(selectors.execution_get(reference))
        shown = selectors.listed(rows)[page.offset : page.offset + page.limit]
        return Response(page.answer("history", [step_row_shape(row) for row in shown], rows.count()))


class ExecutionStepApi(APIView):
    """One step of an execution, with its input and output whatever their size."""

    @extend_schema(operation_id="execution_step_get", responses=StepSerializer)
    def get(self, request: Request, reference: str, number: int) -> Response:
        return Response(step_shape(selectors.step_get(selectors.execution_get(reference), number)))


class ExecutionStopApi(APIView):
    """End an execution, and the calls that are under way for it. The answer leaves out its input."""

    serializer_class = ExecutionStopSerializer

    @extend_schema(
        operation_id="execution_stop",
        request=ExecutionStopSerializer,
        responses=ExecutionSerializer,
        examples=[
            OpenApiExample(
                "with a reason", value={"error": "Order.Withdrawn", "cause": "The customer called."}, request_only=True
            )
        ],
    )
    def post(self, request: Request, reference: str) -> Response:
        given = ExecutionStopSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        why = given.validated_data
        row = services.execution_stop(reference, error_code=why.get("error", ""), error=why.get("cause", ""))
        return Response(stopped_shape(row))


def _list(request: Request, wanted: ExecutionFilter) -> dict[str, Any]:
    page = page_from(request.query_params)
    rows = selectors.executions(wanted)
    shown = list(selectors.listed(rows)[page.offset : page.offset + page.limit + 1])
    last = shown[page.limit - 1] if 0 < page.limit < len(shown) else None
    more = {"next_cursor": cursor_after(last.created_at, last.pk)} if last else {}
    return page.answer("executions", [execution_row_shape(row) for row in shown[: page.limit]], rows.count(), **more)


def _input_text(value: Any) -> bytes:
    """Raises InvalidRequest."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        # Its reader takes 1024 levels, its writer a quarter of that.
        message = f"Is nested deeper than {MAX_INPUT_DEPTH} levels."
        raise InvalidRequest(f"input: {message}", details={"input": [message]}) from error
