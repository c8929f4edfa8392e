"""Calls and streams as Django's routes. The entrance answers these addresses before Django's handler (hot.py, live.py);
the classes here put them into the schema and the browsable API, and a call that comes to them gets its answer from the
same functions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from invocations import hot
from invocations.calls import DESK, CallDesk
from invocations.serializers.invocations import AcceptedSerializer, InvokeAnswerSerializer
from nimbus_project.core.errors import NimbusError, Unavailable
from nimbus_project.core.http import HttpAnswer, HttpRequest, Message, error_answer
from nimbus_project.core.logging import request_id_var

Hot = Callable[[HttpRequest, CallDesk], Coroutine[Any, Any, HttpAnswer]]

_CHOICE = [
    OpenApiParameter("version", int, description="run this version"),
    OpenApiParameter("alias", description="run what this alias points to"),
    OpenApiParameter("session_key", description="calls with the same one land on the same side of an alias's split"),
    OpenApiParameter(
        "environment",
        description="id or name; its overrides apply, and its active alias unless alias or version is given",
    ),
    OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, description="same key, body, caller: same run"),
    OpenApiParameter("X-Nimbus-Session", str, OpenApiParameter.HEADER, description="like session_key, and stronger"),
]
_LOGS = OpenApiParameter("logs", description="`true` adds the last 4 KiB of logs")
_DELAY = OpenApiParameter("delay_sec", int, description="not before so many seconds, up to 86400")


class _Called(APIView):
    def finalize_response(self, request: Request, response: HttpResponse, *args: Any, **kwargs: Any) -> Any:
        """The hot route's answer as it is, without the headers of DRF's own."""
        if isinstance(response, Response):
            return super().finalize_response(request, response, *args, **kwargs)
        return response


class InvokeApi(_Called):
    """Call a function and wait for its answer. The body is the event."""

    @extend_schema(
        operation_id="function_invoke",
        parameters=[*_CHOICE, _LOGS],
        request=OpenApiTypes.ANY,
        responses={200: InvokeAnswerSerializer, 500: InvokeAnswerSerializer, 504: InvokeAnswerSerializer},
    )
    def post(self, request: Request, reference: str) -> HttpResponse:
        return _answered(hot.invoke, request, reference)


class AsyncApi(_Called):
    """Accept an event now, run it later: at least once, whatever dies meanwhile."""

    @extend_schema(
        operation_id="function_invoke_async",
        parameters=[*_CHOICE, _DELAY],
        request=OpenApiTypes.ANY,
        responses={202: AcceptedSerializer},
    )
    def post(self, request: Request, reference: str) -> HttpResponse:
        return _answered(hot.invoke_async, request, reference)


_EVENTS = {(200, "text/event-stream"): OpenApiTypes.STR}


class FunctionLogsStreamApi(APIView):
    """`log` events (Server-Sent Events) of all invocations of a function, from now on."""

    @extend_schema(operation_id="function_logs_stream", responses=_EVENTS)
    def get(self, request: Request, reference: str) -> Response:
        raise _only_by_the_entrance()


class InvocationStreamApi(APIView):
    """`log` events (Server-Sent Events) of one invocation from its first line on, then one `end`."""

    @extend_schema(operation_id="invocation_stream", responses=_EVENTS)
    def get(self, request: Request, reference: str) -> Response:
        raise _only_by_the_entrance()


def _answered(handler: Hot, request: Request, reference: str) -> HttpResponse:
    """What the hot route says, whatever the request accepts: so it does at the entrance."""
    scope = getattr(request._request, "scope", {})
    desk = cast("CallDesk | None", scope.get(DESK))
    if desk is None:
        raise _only_by_the_entrance()
    asked = HttpRequest(scope, _receiving(request.body), request_id_var.get(), (reference,))
    try:
        # Django runs this on a thread; the desk lives in the server's loop, and takes the context along.
        answer = asyncio.run_coroutine_threadsafe(handler(asked, desk), desk.loop).result()
    except NimbusError as error:
        answer = error_answer(error, asked.request_id)
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return HttpResponse(answer.body, status=answer.status, content_type=answer.content_type.decode(), headers=headers)


def _receiving(body: bytes) -> Callable[[], Coroutine[Any, Any, Message]]:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _only_by_the_entrance() -> Unavailable:
    return Unavailable("Calls are answered by nimbus_project.asgi; this server runs Django without it.")
