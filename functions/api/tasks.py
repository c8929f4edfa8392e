"""`GET /tasks/{id}`: a build and its compiler's log."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from functions import selectors
from functions.models import BuildStatus, BuildTask
from functions.serializers.functions import FunctionSerializer, function_shape


class TaskSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    type = serializers.CharField()
    status = serializers.ChoiceField(choices=BuildStatus.choices)
    version = serializers.IntegerField()
    attempt = serializers.IntegerField()
    output = serializers.CharField(required=False, help_text="the compiler's log so far")
    error = serializers.CharField(required=False)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(required=False)
    completed_at = serializers.DateTimeField(required=False)


class TaskAnswerSerializer(serializers.Serializer):
    task = TaskSerializer()
    function = FunctionSerializer()


def task_shape(task: BuildTask) -> dict[str, Any]:
    shape = {
        "id": str(task.pk),
        "type": task.type,
        "status": task.status,
        "version": task.version,
        "attempt": task.attempt,
        "output": task.output,
        "error": task.error,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "completed_at": task.completed_at,
    }
    return {k: v for k, v in shape.items() if v not in ("", None)}


class TaskApi(APIView):
    """A build."""

    @extend_schema(operation_id="task_get", responses=TaskAnswerSerializer)
    def get(self, request: Request, reference: str) -> Response:
        task = selectors.build_get(reference)
        shown = function_shape(task.function, selectors.shown_version(task.function), code=False)
        return Response({"task": task_shape(task), "function": shown})
