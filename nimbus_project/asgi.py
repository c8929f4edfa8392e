"""The one entrance: every request gets its id, passes the guard, and goes to a hot route or to Django."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nimbus_project.settings")

from django.core.asgi import get_asgi_application

# Django types its scope as a plain dict; what comes in is one.
django_application = cast("AsgiApp", get_asgi_application())

from nimbus_project import static_files
from nimbus_project.config import config
from nimbus_project.core.errors import NimbusError, TooLarge
from nimbus_project.core.http import (
    LOOPBACK_HOSTS,
    AsgiApp,
    ClientGone,
    HttpAnswer,
    HttpRequest,
    Message,
    Receive,
    Scope,
    Send,
    error_answer,
    guard,
    too_large,
)
from nimbus_project.core.ids import new_id, sane_request_id
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.unforeseen import answer_to

from accounts.door import Door, Refused  # isort: skip
from accounts.limits import Standing  # isort: skip
from accounts.permissions import right_for  # isort: skip
from accounts.rights import Right  # isort: skip
from invocations import hot, live  # isort: skip
from invocations.calls import DESK, CallDesk  # isort: skip
from invocations.dispatch import Dispatch, Way  # isort: skip
from invocations.express import Express  # isort: skip
from triggers import hot_events  # isort: skip
from triggers.express_routes import ExpressRoutes  # isort: skip
from triggers.express_webhooks import ExpressWebhooks  # isort: skip
from triggers.outside import Asked, Outside  # isort: skip

Handler = Callable[[HttpRequest, CallDesk], Awaitable[HttpAnswer | AsgiApp]]


@dataclass(frozen=True, slots=True)
class HotRoute:
    """An address that is answered before Django's handler."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler
    right: Right


def _hot(method: str, pattern: str, handler: Handler, name: str) -> HotRoute:
    """`name` is the route's in the table of permissions."""
    return HotRoute(method, re.compile(f"/api/v1/{pattern}/?"), handler, right_for(name, method))


HOT_ROUTES = (
    _hot("POST", "functions/([^/]+)/invoke", hot.invoke, "function-invoke"),
    _hot("POST", "functions/([^/]+)/async", hot.invoke_async, "function-async"),
    _hot("POST", "events", hot_events.publish, "events"),
    _hot("GET", "functions/([^/]+)/logs/stream", live.function_logs, "function-logs-stream"),
    _hot("GET", "invocations/([^/]+)/stream", live.invocation_stream, "invocation-stream"),
)
_FORMS = (b"application/x-www-form-urlencoded", b"multipart/form-data")
# Django's admin and static files have their own idea of slashes.
_SLASHES_KEPT = ("/admin", "/static")


class Entrance:
    """ASGI application. One per web process."""

    def __init__(self, django: AsgiApp) -> None:
        self._django = django
        self._desk: CallDesk | None = None
        self._door: Door | None = None
        self._outside: Outside | None = None
        self.ways: tuple[Way, ...] = ()
        """Those past uvicorn's own path, once it has started."""
        named = frozenset(filter(None, config().allowed_hosts.lower().split(",")))
        self._hosts = LOOPBACK_HOSTS | named | config().route_host_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                # What is there now stays: no collection has to look at it again, in the middle of a call.
                gc.collect()
                gc.freeze()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def start(self) -> None:
        self._desk = CallDesk()
        await self._desk.start()
        self._door = Door(config(), self._desk.in_thread)
        self._outside = Outside(config(), self._desk, self._door)
        dispatch, door, outside = Dispatch(config(), self._desk), self._door, self._outside
        self.ways = (
            Express(config(), dispatch, door, self._hosts),
            ExpressWebhooks(config(), dispatch, door, outside.gate),
            ExpressRoutes(config(), dispatch, door, outside, self._hosts),
        )

    @property
    def desk(self) -> CallDesk:
        assert self._desk is not None, "the server must run the lifespan protocol"
        return self._desk

    async def stop(self) -> None:
        if self._desk is not None and self._door is not None and self._outside is not None:
            await self._outside.close()
            await self._door.close()
            await self._desk.stop()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        request_id = _request_id(scope, headers)
        request_id_var.set(request_id)
        scope = _without_slash(scope)
        try:
            assert self._outside is not None, "the server must run the lifespan protocol"
            asked = await self._outside.asked(scope, headers, receive, request_id)
            if asked is None or not asked.passes_guard:
                guard(scope["method"], headers, self._hosts)
            send, answer = await self._answered(scope, headers, receive, send, request_id, asked)
        except ClientGone:
            return
        except NimbusError as error:
            answer = error_answer(error, request_id)
            if isinstance(error, Refused):
                send = _with_standing(send, error.standing)
        except Exception as error:
            answer = error_answer(answer_to(error, _loggable(scope["path"])), request_id)
        if isinstance(answer, HttpAnswer):
            await answer.send(send, request_id)
        elif answer is not None:
            await answer(scope, receive, send)
        else:
            await self._to_django(scope, headers, receive, send, request_id)

    async def _answered(
        self,
        scope: Scope,
        headers: dict[bytes, bytes],
        receive: Receive,
        send: Send,
        request_id: str,
        asked: Asked | None,
    ) -> tuple[Send, HttpAnswer | AsgiApp | None]:
        """The answer of a hot route, None for Django's; and `send` with the headers that every answer has."""
        assert self._desk is not None and self._door is not None and self._outside is not None
        if asked is not None:
            return send, await self._outside.answer(asked)
        if scope["path"].startswith(static_files.PREFIX):
            return send, await static_files.static_file(scope)
        route, path_args = _route(scope["method"], scope["path"])
        standing = await self._door.admit(scope, headers, route.right if route else None)
        if standing is not None:
            send = _with_standing(send, standing)
        if route is None:
            return send, None
        try:
            return send, await route.handler(HttpRequest(scope, receive, request_id, path_args), self._desk)
        except NimbusError as error:
            return send, error_answer(error, request_id)

    async def _to_django(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send, request_id: str
    ) -> None:
        try:
            scope, receive = await _with_bounded_body(scope, headers, receive)
        except ClientGone:
            return
        except TooLarge as error:
            await error_answer(error, request_id).send(send, request_id)
            return
        scope = {**scope, DESK: self._desk}
        await self._django(scope, receive, _with_headers(send, [(b"x-request-id", request_id.encode())]))


async def _with_bounded_body(scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> tuple[Scope, Receive]:
    """A body that says how long it is, as Django and DRF need it: one in chunks is read here, up to the limit. Raises
    TooLarge, ClientGone."""
    limit = config().max_request_bytes
    declared = headers.get(b"content-length", b"")
    if declared.isdigit():
        size = int(declared)
        if size > limit:
            raise too_large(limit)
    else:
        body = await HttpRequest(scope, receive, "").body(limit)
        size = len(body)
        receive = _replaying(body, receive)
        scope = {**scope, "headers": [*scope["headers"], (b"content-length", str(size).encode())]}
    if size == 0:
        # DRF makes an empty form of an empty body that says it is one, and its fields then all look given.
        scope = {**scope, "headers": [pair for pair in scope["headers"] if not _says_form(*pair)]}
    return scope, receive


def _says_form(name: bytes, value: bytes) -> bool:
    return name == b"content-type" and value.strip().lower().startswith(_FORMS)


def _replaying(body: bytes, receive: Receive) -> Receive:
    """The body once more, whole; then what comes after it."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return parts.pop() if parts else await receive()

    return receive_again


def _loggable(path: str) -> str:
    """The address of a webhook is a key."""
    return "/webhook/…" if path.startswith("/webhook/") else path


def _request_id(scope: Scope, headers: dict[bytes, bytes]) -> str:
    """The caller's if it is sane (else it is taken out of the scope), or a new one."""
    given = headers.get(b"x-request-id")
    sane = sane_request_id(given.decode("latin-1")) if given else None
    if given and sane is None:
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"x-request-id"]
    return sane or str(new_id())


def _without_slash(scope: Scope) -> Scope:
    path = scope["path"]
    if path.endswith("/") and not path.startswith(_SLASHES_KEPT):
        return {**scope, "path": path.rstrip("/") or "/"}
    return scope


def _route(method: str, path: str) -> tuple[HotRoute | None, tuple[str, ...]]:
    for route in HOT_ROUTES:
        if route.method == method and (match := route.pattern.fullmatch(path)):
            return route, match.groups()
    return None, ()


def _with_standing(send: Send, standing: Standing) -> Send:
    return _with_headers(send, standing.headers())


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return send_more


application = Entrance(django_application)
