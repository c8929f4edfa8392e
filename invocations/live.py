"""Live logs as Server-Sent Events: lines as they are printed, from Redis' channel of the function.

Messages on the channel: ``{"id", "seq", "lines": [[at_ms, stream, text]], "status"?}``; `seq` counts the lines of the
invocation's current try before these, `status` is there when the try has ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
from redis.asyncio.client import PubSub
from sse_starlette import EventSourceResponse

from invocations import selectors
from invocations.calls import CallDesk
from invocations.models import Invocation
from invocations.outcome import TERMINAL
from invocations.serializers.invocations import log_line_shapes
from nimbus_project.core import redis
from nimbus_project.core.http import HttpRequest, Receive, Scope, Send

_CHECK_SEC = 2.0
"""Without news for so long the row is asked, should a message have been lost."""
_PING_SEC = 15


class EventStream:
    """An answer that goes on: hands the connection to sse-starlette."""

    def __init__(self, events: AsyncIterator[dict[str, str]], request_id: str) -> None:
        self._response = EventSourceResponse(events, ping=_PING_SEC, headers={"X-Request-Id": request_id})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._response(scope, receive, send)


async def function_logs(request: HttpRequest, desk: CallDesk) -> EventStream:
    """`GET /functions/{id}/logs/stream`: `log` events of all its invocations from now on."""
    (reference,) = request.path_args
    function = await desk.function(reference)
    return EventStream(_of_function(function.id), request.request_id)


async def invocation_stream(request: HttpRequest, desk: CallDesk) -> EventStream:
    """`GET /invocations/{id}/stream`: its `log` events from the first line on, then one `end`."""
    (reference,) = request.path_args
    row = await desk.in_thread(selectors.invocation_get, reference)
    return EventStream(_of_invocation(row, desk), request.request_id)


def _events(invocation_id: str, lines: selectors.Lines) -> list[dict[str, str]]:
    return [
        {"event": "log", "data": orjson.dumps({"invocation_id": invocation_id, **shape}).decode()}
        for shape in log_line_shapes(lines)
    ]


async def _of_function(function_id: str) -> AsyncIterator[dict[str, str]]:
    client = redis.async_connection()
    async with client, client.pubsub() as listener:
        await listener.subscribe(redis.LOGS + function_id)
        while True:
            if (news := await _next(listener)) is None:
                continue
            for event in _events(news["id"], news["lines"]):
                yield event


async def _of_invocation(row: Invocation, desk: CallDesk) -> AsyncIterator[dict[str, str]]:
    client = redis.async_connection()
    async with client, client.pubsub() as listener:
        # Listen first, then read what was before: nothing falls between the two.
        await listener.subscribe(redis.LOGS + str(row.function_id))
        row = await desk.in_thread(selectors.invocation_get, str(row.pk))
        lines = await desk.in_thread(selectors.lines_of, row)
        for event in _events(str(row.pk), lines):
            yield event
        seen = len(await desk.in_thread(selectors.live_lines, str(row.pk))) if row.status not in TERMINAL else 0
        while row.status not in TERMINAL:
            news = await _next(listener)
            if news is not None and news["id"] == str(row.pk):
                for event in _events(news["id"], news["lines"][max(0, seen - news["seq"]) :]):
                    yield event
                seen = 0 if news.get("status") else news["seq"] + len(news["lines"])
            if news is None or news.get("status"):
                row = await desk.in_thread(selectors.invocation_get, str(row.pk))
        yield {"event": "end", "data": orjson.dumps({"invocation_id": str(row.pk), "status": row.status}).decode()}


async def _next(listener: PubSub) -> dict[str, Any] | None:
    """The next message, or None after a while without."""
    try:
        async with asyncio.timeout(_CHECK_SEC):
            message = await listener.get_message(ignore_subscribe_messages=True, timeout=_CHECK_SEC)
    except TimeoutError:
        return None
    return orjson.loads(message["data"]) if message is not None else None
