"""Routes of rollouts: parse, call a service or selector, shape the answer."""

from __future__ import annotations

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from functions import rollouts
from functions.api.aliases import PAGE
from functions.models import Rollout, RolloutStatus
from functions.selectors import function_get
from functions.serializers.rollouts import (
    RolloutListSerializer,
    RolloutSerializer,
    RolloutStartSerializer,
    rollout_shape,
    running_shape,
)
from nimbus_project.core.pagination import page_from


def _answer(rollout: Rollout) -> Response:
    if rollout.status != RolloutStatus.RUNNING:
        return Response(rollout_shape(rollout))
    return Response(running_shape(rollout, *rollouts.look(rollout, timezone.now())))


class RolloutApi(APIView):
    """Move an alias's traffic to a version step by step; it goes back by itself when that does worse than allowed."""

    serializer_class = RolloutStartSerializer

    @extend_schema(operation_id="rollout_get", responses=RolloutSerializer)
    def get(self, request: Request, reference: str, alias: str) -> Response:
        return _answer(rollouts.rollout_get(function_get(reference), alias))

    @extend_schema(
        operation_id="rollout_start",
        description="409 while another rollout of this alias runs or is paused.",
        request=RolloutStartSerializer,
        responses={201: RolloutSerializer},
    )
    def post(self, request: Request, reference: str, alias: str) -> Response:
        given = RolloutStartSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        rollout = rollouts.rollout_start(reference, alias, **given.validated_data)
        return Response(rollout_shape(rollout), status=status.HTTP_201_CREATED)


class RolloutPauseApi(APIView):
    """Leave the weights as they are and judge nothing until it is resumed."""

    @extend_schema(operation_id="rollout_pause", request=None, responses=RolloutSerializer)
    def post(self, request: Request, reference: str, alias: str) -> Response:
        return _answer(rollouts.rollout_pause(reference, alias))


class RolloutResumeApi(APIView):
    """Begin the step in force anew."""

    @extend_schema(operation_id="rollout_resume", request=None, responses=RolloutSerializer)
    def post(self, request: Request, reference: str, alias: str) -> Response:
        return _answer(rollouts.rollout_resume(reference, alias))


class RolloutAbortApi(APIView):
    """Go back to the weights before it."""

    @extend_schema(operation_id="rollout_abort", request=None, responses=RolloutSerializer)
    def post(self, request: Request, reference: str, alias: str) -> Response:
        return _answer(rollouts.rollout_abort(reference, alias))


class RolloutsApi(APIView):
    """The rollouts of a function's aliases, newest first, with the history of each."""

    @extend_schema(operation_id="rollout_list", parameters=PAGE, responses=RolloutListSerializer)
    def get(self, request: Request, reference: str) -> Response:
        page = page_from(request.query_params)
        rows = rollouts.rollouts_of(function_get(reference))
        shown = [rollout_shape(row) for row in rows[page.offset : page.offset + page.limit]]
        return Response(page.answer("rollouts", shown, rows.count()))
