"""Routes of invocations under Django: reading, cancelling, replaying. Calls and streams are in calls.py."""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import quotas
from accounts.principal import principal_var
from functions import allowance, directory
from functions.selectors import function_get
from invocations import daily, selectors, services, statistics
from invocations.models import TriggerType
from invocations.outcome import Status
from invocations.selectors import InvocationFilter
from invocations.serializers.invocations import (
    AcceptedSerializer,
    CancelSerializer,
    InvocationListSerializer,
    InvocationSerializer,
    LogListSerializer,
    PlatformStatsSerializer,
    QuotaSerializer,
    invocation_row_shape,
    invocation_shape,
    log_line_shapes,
)
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.pagination import Page, cursor_after, page_from


def _query(name: str, about: str, kind: OpenApiTypes = OpenApiTypes.STR, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=about, **more)


_PAGE = [
    _query("offset", "rows to pass over", OpenApiTypes.INT),
    _query("limit", "rows to answer with, at most 100", OpenApiTypes.INT),
    _query("cursor", "next_cursor of the answer before, instead of offset"),
]
_FILTERS = [
    _query("status", "exactly this status", enum=[s.value for s in Status]),
    _query("trigger_type", "exactly this trigger", enum=TriggerType.values),
    _query("before", "created before (RFC 3339)"),
    _query("after", "created after (RFC 3339)"),
]


class InvocationsApi(APIView):
    """Invocations, newest first."""

    @extend_schema(
        operation_id="invocation_list",
        parameters=[_query("function_id", "id or name"), *_FILTERS, *_PAGE],
        responses=InvocationListSerializer,
    )
    def get(self, request: Request) -> Response:
        reference = request.query_params.get("function_id", "")
        function_id = selectors.function_id_of(reference) if reference else None
        return Response(_list(request, InvocationFilter.from_query(request.query_params, function_id)))


class FunctionInvocationsApi(APIView):
    """Invocations of one function, newest first."""

    @extend_schema(
        operation_id="function_invocation_list", parameters=[*_FILTERS, *_PAGE], responses=InvocationListSerializer
    )
    def get(self, request: Request, reference: str) -> Response:
        function = function_get(reference)
        return Response(_list(request, InvocationFilter.from_query(request.query_params, function.pk)))


def _list(request: Request, wanted: InvocationFilter) -> dict[str, Any]:
    page = page_from(request.query_params)
    rows = selectors.invocations_matching(wanted)
    shown = list(selectors.listed(rows)[page.offset : page.offset + page.limit + 1])
    last = shown[page.limit - 1] if 0 < page.limit < len(shown) else None
    more = {"next_cursor": cursor_after(last.created_at, last.pk)} if last else {}
    return page.answer("invocations", [invocation_row_shape(r) for r in shown[: page.limit]], rows.count(), **more)


class InvocationApi(APIView):
    """One invocation, by its id or its request id."""

    @extend_schema(operation_id="invocation_get", responses=InvocationSerializer)
    def get(self, request: Request, reference: str) -> Response:
        return Response(invocation_shape(selectors.invocation_get(reference)))


class InvocationLogsApi(APIView):
    """What an invocation printed, oldest line first."""

    @extend_schema(operation_id="invocation_logs", parameters=_PAGE, responses=LogListSerializer)
    def get(self, request: Request, reference: str) -> Response:
        page = _log_page(request)
        lines = selectors.lines_of(selectors.invocation_get(reference))
        end = page.offset + page.limit
        more = {"next_cursor": str(end)} if end < len(lines) and page.limit else {}
        return Response(page.answer("logs", log_line_shapes(lines[page.offset : end]), len(lines), **more))


def _log_page(request: Request) -> Page:
    page = page_from(request.query_params)
    cursor = request.query_params.get("cursor", "")
    if not cursor:
        return page
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise InvalidRequest("cursor: Must be a next_cursor of an earlier answer.")
    return Page(int(cursor), page.limit)


class InvocationReplayApi(APIView):
    """Send the same event once more, asynchronously, to the function as it is now."""

    @extend_schema(operation_id="invocation_replay", request=None, responses={202: AcceptedSerializer})
    def post(self, request: Request, reference: str) -> Response:
        original = selectors.invocation_get(reference)
        row = services.replay(original, directory.look_up(str(original.function_id)), request_id_var.get())
        body = {"request_id": row.request_id, "invocation_id": str(row.pk), "status": "accepted"}
        return Response(body, status=status.HTTP_202_ACCEPTED)


class InvocationCancelApi(APIView):
    """End an invocation that waits or runs."""

    @extend_schema(operation_id="invocation_cancel", request=None, responses=CancelSerializer)
    def post(self, request: Request, reference: str) -> Response:
        return Response(services.cancel(reference)._asdict())


class QuotaApi(APIView):
    """What the caller's functions amount to, and how much they may."""

    @extend_schema(operation_id="quota_get", responses=QuotaSerializer)
    def get(self, request: Request) -> Response:
        owner_id = principal_var.get().user_id
        used = allowance.amount_of(owner_id), daily.used(owner_id, timezone.now())
        return Response(quotas.shape(quotas.limits_of(owner_id), *used))


class StatsApi(APIView):
    """Functions, and the invocations of the last 24 hours, in numbers."""

    @extend_schema(operation_id="stats_get", responses=PlatformStatsSerializer)
    def get(self, request: Request) -> Response:
        return Response(statistics.statistics(timezone.now()))
