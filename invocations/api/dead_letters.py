"""Routes of dead letters: read, try again, discard, delete; one and many."""

from __future__ import annotations

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from invocations import dead_letters, redrive, selectors
from invocations.dead_letters import DeadLetterFilter
from invocations.models import DeadLetterStatus
from invocations.serializers.dead_letters import (
    DeadLetterListSerializer,
    DeadLetterSerializer,
    DeadLetterStatsSerializer,
    DeletedCountSerializer,
    RetryManyResultSerializer,
    RetryManySerializer,
    dead_letter_row_shape,
    dead_letter_shape,
    redriven_shape,
)
from invocations.serializers.invocations import AcceptedSerializer
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.pagination import cursor_after, page_from


def _query(name: str, about: str, kind: OpenApiTypes = OpenApiTypes.STR, **more: object) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=about, **more)  # type: ignore[arg-type]


_STATUS = _query("status", "exactly this status", enum=DeadLetterStatus.values)


def _wanted(request: Request) -> DeadLetterFilter:
    reference = request.query_params.get("function_id", "")
    function_id = selectors.function_id_of(reference) if reference else None
    return DeadLetterFilter.from_query(request.query_params, function_id)


class DeadLettersApi(APIView):
    """Queued invocations that failed for good, newest first; or delete those of a function."""

    @extend_schema(
        operation_id="dlq_list",
        parameters=[
            _query("function_id", "id or name"),
            _STATUS,
            _query("offset", "rows to pass over", OpenApiTypes.INT),
            _query("limit", "rows to answer with, at most 100", OpenApiTypes.INT),
            _query("cursor", "next_cursor of the answer before, instead of offset"),
        ],
        responses=DeadLetterListSerializer,
    )
    def get(self, request: Request) -> Response:
        wanted = _wanted(request)
        page = page_from(request.query_params)
        rows = dead_letters.dead_letters(wanted)
        shown = list(dead_letters.listed(rows)[page.offset : page.offset + page.limit + 1])
        last = shown[page.limit - 1] if 0 < page.limit < len(shown) else None
        more = {"next_cursor": cursor_after(last.created_at, last.pk)} if last else {}
        shapes = [dead_letter_row_shape(row) for row in shown[: page.limit]]
        return Response(page.answer("dead_letters", shapes, rows.count(), **more))

    @extend_schema(
        operation_id="dlq_delete_of_function",
        parameters=[_query("function_id", "id or name", required=True), _STATUS],
        responses=DeletedCountSerializer,
    )
    def delete(self, request: Request) -> Response:
        wanted = _wanted(request)
        if wanted.function_id is None:
            message = "Is required: whose dead letters are to be deleted?"
            raise InvalidRequest(f"function_id: {message}", details={"function_id": [message]})
        return Response({"deleted": dead_letters.delete_of(wanted.function_id, wanted.status)})


class DeadLetterStatsApi(APIView):
    """Dead letters in numbers."""

    @extend_schema(operation_id="dlq_stats", responses=DeadLetterStatsSerializer)
    def get(self, request: Request) -> Response:
        return Response(dead_letters.statistics())


class DeadLettersRetryApi(APIView):
    """Try many again, each on its own account: one that fails harms no other."""

    serializer_class = RetryManySerializer

    @extend_schema(
        operation_id="dlq_retry_many",
        request=RetryManySerializer,
        responses={200: RetryManyResultSerializer},
        examples=[
            OpenApiExample("those of a function", value={"function_id": "resize"}, request_only=True),
            OpenApiExample("some", value={"ids": ["0192f0c1-7c1e-7d5a-9f3b-0a1b2c3d4e5f"]}, request_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        given = RetryManySerializer(data=request.data)
        given.is_valid(raise_exception=True)
        if "ids" in given.validated_data:
            done = redrive.retry_many(given.validated_data["ids"])
        else:
            done = redrive.retry_of(selectors.function_id_of(given.validated_data["function_id"]))
        return Response(redriven_shape(done))


class DeadLetterApi(APIView):
    """One dead letter, by its id or that of its invocation."""

    @extend_schema(operation_id="dlq_get", responses=DeadLetterSerializer)
    def get(self, request: Request, reference: str) -> Response:
        return Response(dead_letter_shape(dead_letters.dead_letter_get(reference)))

    @extend_schema(operation_id="dlq_delete", responses={204: None})
    def delete(self, request: Request, reference: str) -> Response:
        dead_letters.delete(reference)
        return Response(status=status.HTTP_204_NO_CONTENT)


class DeadLetterRetryApi(APIView):
    """Send its event once more, as a new invocation of the function as it is now, with a full set of tries."""

    @extend_schema(operation_id="dlq_retry", request=None, responses={202: AcceptedSerializer})
    def post(self, request: Request, reference: str) -> Response:
        _, row = redrive.retry(reference)
        body = {"request_id": row.request_id, "invocation_id": str(row.pk), "status": "accepted"}
        return Response(body, status=status.HTTP_202_ACCEPTED)


class DeadLetterDiscardApi(APIView):
    """Keep it, but as one that nobody has to look at any more."""

    @extend_schema(operation_id="dlq_discard", request=None, responses=DeadLetterSerializer)
    def post(self, request: Request, reference: str) -> Response:
        return Response(dead_letter_shape(dead_letters.discard(reference)))
