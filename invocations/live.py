"""Live logs as Server-Sent Events: lines as they are printed, from Redis' channel of the function.

Messages on the channel: ``{"id", "seq", "lines": [[at_ms, stream, text]], "status"?}``; `seq` counts the lines of the
invocation's current try before these, `status` is there when the try has ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import orjson
from redis.asyncio.client import PubSub
from sse_starlette import EventSourceResponse
from sse_starlette.sse import SendTimeoutError

from accounts import permissions
from accounts.authentication import identify_again
from accounts.principal import principal_var
from accounts.rights import Right
from invocations import selectors
from invocations.calls import CallDesk
from invocations.models import Invocation
from invocations.outcome import TERMINAL
from invocations.serializers.invocations import log_line_shapes
from nimbus_project.core import redis
from nimbus_project.core.errors import NimbusError, Unavailable
from nimbus_project.core.http import HttpRequest, Receive, Scope, Send
from nimbus_project.core.unforeseen import answer_to

_CHECK_SEC = 1.0
"""How long a caller may listen before it is asked anew whether it may; and without news for so long the row is read,
should a message have been lost."""
_PING_SEC = 15
_SEND_SEC = 60.0
"""A listener that takes nothing for so long has gone."""
MAX_STREAMS = 500
"""Of one web process: each holds a connection to Redis."""

Event = dict[str, str]


class EventStream:
    """An answer that goes on: hands the connection to sse-starlette."""

    open_now = 0
    """In this process."""

    def __init__(self, events: AsyncGenerator[Event], request: HttpRequest) -> None:
        if EventStream.open_now >= MAX_STREAMS:
            raise Unavailable("Too many live streams are open here. Try again later.", code="too_many_streams")
        told = _until_refused(events, request)
        headers = {"X-Request-Id": request.request_id}
        self._response = EventSourceResponse(told, ping=_PING_SEC, send_timeout=_SEND_SEC, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        EventStream.open_now += 1
        try:
            await self._response(scope, receive, send)
        except SendTimeoutError:
            return
        finally:
            EventStream.open_now -= 1


async def _until_refused(events: AsyncGenerator[Event], request: HttpRequest) -> AsyncIterator[Event]:
    """The events; when the caller may not have more of them, or they can't be had, one `error` in the shape of all
    errors."""
    async with aclosing(events):
        try:
            async for event in events:
                yield event
        except Exception as error:
            refusal = error if isinstance(error, NimbusError) else answer_to(error, request.scope["path"])
            yield {"event": "error", "data": orjson.dumps(refusal.body(request.request_id)).decode()}


class Leave:
    """A caller's leave to listen, renewed each second: what the entrance has checked may not hold as long as the
    stream does."""

    def __init__(self, request: HttpRequest, desk: CallDesk, right: Right) -> None:
        self._scope = request.scope
        self._desk = desk
        self._right = right
        self._until = time.monotonic() + _CHECK_SEC

    async def renew(self) -> bool:
        """True when it was time to ask again, and the caller may. Raises Unauthorized, Forbidden."""
        if time.monotonic() < self._until:
            return False
        principal = await identify_again(principal_var.get(), self._scope, self._desk.in_thread)
        permissions.check(principal, self._right)
        principal_var.set(principal)
        self._until = time.monotonic() + _CHECK_SEC
        return True


async def function_logs(request: HttpRequest, desk: CallDesk) -> EventStream:
    """`GET /functions/{id}/logs/stream`: `log` events of all its invocations from now on."""
    (reference,) = request.path_args
    function = await desk.function(reference)
    leave = Leave(request, desk, permissions.right_for("function-logs-stream", "GET"))
    return EventStream(_of_function(function.id, desk, leave), request)


async def invocation_stream(request: HttpRequest, desk: CallDesk) -> EventStream:
    """`GET /invocations/{id}/stream`: its `log` events from the first line on, then one `end`."""
    (reference,) = request.path_args
    row = await desk.in_thread(selectors.invocation_get, reference)
    leave = Leave(request, desk, permissions.right_for("invocation-stream", "GET"))
    return EventStream(_of_invocation(row, desk, leave), request)


def _events(invocation_id: str, lines: selectors.Lines) -> list[Event]:
    return [
        {"event": "log", "data": orjson.dumps({"invocation_id": invocation_id, **shape}).decode()}
        for shape in log_line_shapes(lines)
    ]


async def _of_function(function_id: str, desk: CallDesk, leave: Leave) -> AsyncGenerator[Event]:
    client = redis.async_connection()
    async with client, client.pubsub() as listener:
        await listener.subscribe(redis.LOGS + function_id)
        while True:
            news = await _next(listener)
            if await leave.renew():
                # It may be gone, or the caller's no longer.
                await desk.function(function_id)
            if news is None:
                continue
            for event in _events(news["id"], news["lines"]):
                yield event


async def _of_invocation(row: Invocation, desk: CallDesk, leave: Leave) -> AsyncGenerator[Event]:
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
            # Only where no line can be on its way any more does the row tell the end.
            is_quiet = news is None or bool(news.get("status"))
            if await leave.renew() or is_quiet:
                fresh = await desk.in_thread(selectors.invocation_get, str(row.pk))
                row = fresh if is_quiet else row
            if news is not None and news["id"] == str(row.pk):
                for event in _events(news["id"], news["lines"][max(0, seen - news["seq"]) :]):
                    yield event
                seen = 0 if news.get("status") else news["seq"] + len(news["lines"])
        yield {"event": "end", "data": orjson.dumps({"invocation_id": str(row.pk), "status": row.status}).decode()}


async def _next(listener: PubSub) -> dict[str, Any] | None:
    """The next message, or None after a while without."""
    try:
        async with asyncio.timeout(_CHECK_SEC):
            message = await listener.get_message(ignore_subscribe_messages=True, timeout=_CHECK_SEC)
    except TimeoutError:
        return None
    return orjson.loads(message["data"]) if message is not None else None
