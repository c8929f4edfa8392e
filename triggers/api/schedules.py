"""Routes of schedules: parse, call a service, shape the answer."""

from __future__ import annotations

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from invocations.selectors import function_id_of, statuses_of
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.pagination import page_from
from triggers import own_schedules, schedules, workflow_runs
from triggers.models import FireStatus
from triggers.schedules import ScheduleFilter
from triggers.serializers.schedules import (
    FireListSerializer,
    RanSerializer,
    ScheduleCreateSerializer,
    ScheduleListSerializer,
    ScheduleNextSerializer,
    ScheduleSerializer,
    ScheduleUpdateSerializer,
    fire_shape,
    next_shape,
    ran_shape,
    schedule_shape,
)
from workflows.selectors import workflow_get

_PAGE = [
    OpenApiParameter("offset", OpenApiTypes.INT, description="rows to pass over"),
    OpenApiParameter("limit", OpenApiTypes.INT, description="rows to answer with, at most 100"),
]
_NIGHTLY = {
    "function": "report",
    "name": "nightly",
    "cron_expression": "0 2 * * *",
    "cron_timezone": "Europe/Berlin",
    "payload": {"kind": "daily"},
    "catch_up_policy": "catch_up_one",
    "overlap_policy": "skip",
}
_OF_A_WORKFLOW = {"workflow": "close-of-day", "cron_expression": "0 18 * * MON-FRI", "overlap_policy": "skip"}


class SchedulesApi(APIView):
    """Schedules of functions and workflows, newest first; and new ones."""

    serializer_class = ScheduleCreateSerializer

    @extend_schema(
        operation_id="schedule_list",
        parameters=[
            OpenApiParameter("function_id", OpenApiTypes.STR, description="id or name"),
            OpenApiParameter("workflow_id", OpenApiTypes.STR, description="id or name"),
            OpenApiParameter("enabled", OpenApiTypes.STR, description="true or false"),
            *_PAGE,
        ],
        responses=ScheduleListSerializer,
    )
    def get(self, request: Request) -> Response:
        own_schedules.follow(timezone.now())
        page = page_from(request.query_params)
        reference = request.query_params.get("function_id", "")
        function_id = function_id_of(reference) if reference else None
        reference = request.query_params.get("workflow_id", "")
        workflow_id = workflow_get(reference).pk if reference else None
        wanted = ScheduleFilter.from_query(request.query_params, function_id, workflow_id)
        rows = schedules.schedules_matching(wanted)
        shown = [schedule_shape(row) for row in rows[page.offset : page.offset + page.limit]]
        return Response(page.answer("schedules", shown, rows.count()))

    @extend_schema(
        operation_id="schedule_create",
        request=ScheduleCreateSerializer,
        responses={201: ScheduleSerializer},
        examples=[
            OpenApiExample("every night at two", value=_NIGHTLY, request_only=True),
            OpenApiExample("a workflow", value=_OF_A_WORKFLOW, request_only=True),
        ],
    )
    def post(self, request: Request) -> Response:
        given = ScheduleCreateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return Response(schedule_shape(schedules.schedule_create(**given.validated_data)), status.HTTP_201_CREATED)


class ScheduleApi(APIView):
    """One schedule."""

    serializer_class = ScheduleUpdateSerializer

    @extend_schema(operation_id="schedule_get", responses=ScheduleSerializer)
    def get(self, request: Request, reference: str) -> Response:
        return Response(schedule_shape(schedules.schedule_get(reference)))

    @extend_schema(
        operation_id="schedule_replace",
        description="Absent fields stay as they are.",
        request=ScheduleUpdateSerializer,
        responses=ScheduleSerializer,
        examples=[OpenApiExample("at three instead", value={"cron_expression": "0 3 * * *"}, request_only=True)],
    )
    def put(self, request: Request, reference: str) -> Response:
        row = schedules.schedule_get(reference)
        given = ScheduleUpdateSerializer(row, data=request.data)
        given.is_valid(raise_exception=True)
        return Response(schedule_shape(schedules.schedule_update(reference, **given.validated_data)))

    @extend_schema(
        operation_id="schedule_update",
        request=ScheduleUpdateSerializer,
        responses=ScheduleSerializer,
        examples=[OpenApiExample("no two at once", value={"overlap_policy": "skip"}, request_only=True)],
    )
    def patch(self, request: Request, reference: str) -> Response:
        return self.put(request, reference)

    @extend_schema(operation_id="schedule_delete", responses={204: None})
    def delete(self, request: Request, reference: str) -> Response:
        schedules.schedule_delete(reference)
        return Response(status=status.HTTP_204_NO_CONTENT)


class SchedulePauseApi(APIView):
    """Fire no more until it is resumed. Fire times of the pause are neither missed nor made up for."""

    @extend_schema(operation_id="schedule_pause", request=None, responses=ScheduleSerializer)
    def post(self, request: Request, reference: str) -> Response:
        return Response(schedule_shape(schedules.schedule_set_enabled(reference, enabled=False)))


class ScheduleResumeApi(APIView):
    """Fire again, from the next fire time on."""

    @extend_schema(operation_id="schedule_resume", request=None, responses=ScheduleSerializer)
    def post(self, request: Request, reference: str) -> Response:
        return Response(schedule_shape(schedules.schedule_set_enabled(reference, enabled=True)))


class ScheduleRunApi(APIView):
    """Run it now, whatever its clock, its pause and its overlap policy say."""

    @extend_schema(operation_id="schedule_run", request=None, responses={202: RanSerializer})
    def post(self, request: Request, reference: str) -> Response:
        fire = schedules.schedule_run(reference)
        return Response(ran_shape(fire, request_id_var.get()), status=status.HTTP_202_ACCEPTED)


class ScheduleNextApi(APIView):
    """The next ten fire times; of a paused one those that it would have."""

    @extend_schema(operation_id="schedule_next", responses=ScheduleNextSerializer)
    def get(self, request: Request, reference: str) -> Response:
        row = schedules.schedule_get(reference)
        return Response(next_shape(row, schedules.upcoming(row, timezone.now())))


class ScheduleHistoryApi(APIView):
    """What came of its fire times, newest first."""

    @extend_schema(
        operation_id="schedule_history",
        parameters=[
            OpenApiParameter("status", OpenApiTypes.STR, description=f"one of {', '.join(FireStatus.values)}"),
            *_PAGE,
        ],
        responses=FireListSerializer,
    )
    def get(self, request: Request, reference: str) -> Response:
        page = page_from(request.query_params)
        rows = schedules.history(schedules.schedule_get(reference), request.query_params.get("status", ""))
        shown = list(rows[page.offset : page.offset + page.limit])
        statuses = statuses_of([fire.invocation_id for fire in shown if fire.invocation_id is not None])
        statuses |= workflow_runs.statuses_of([fire.execution_id for fire in shown if fire.execution_id is not None])
        return Response(page.answer("history", [fire_shape(fire, statuses) for fire in shown], rows.count()))
