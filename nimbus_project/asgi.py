"""The one entrance: every request gets its id, passes the guard, and goes to a hot route or to Django."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nimbus_project.settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from nimbus_project.config import config
from nimbus_project.core.errors import NimbusError
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

from invocations import hot, live  # isort: skip
from invocations.calls import CallDesk  # isort: skip

log = logging.getLogger("nimbus.entrance")

Handler = Callable[[HttpRequest, CallDesk], Awaitable[HttpAnswer | AsgiApp]]


@dataclass(frozen=True, slots=True)
class HotRoute:
    """An address that is answered before Django's handler."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler


HOT_ROUTES = (
    HotRoute("POST", re.compile(r"/api/v1/functions/([^/]+)/invoke/?"), hot.invoke),
    HotRoute("POST", re.compile(r"/api/v1/functions/([^/]+)/async/?"), hot.invoke_async),
    HotRoute("GET", re.compile(r"/api/v1/functions/([^/]+)/logs/stream/?"), live.function_logs),
    HotRoute("GET", re.compile(r"/api/v1/invocations/([^/]+)/stream/?"), live.invocation_stream),
)
# Django's admin and static files have their own idea of slashes.
_SLASHES_KEPT = ("/admin", "/static")


class Entrance:
    """ASGI application. One per web process."""

    def __init__(self, django: AsgiApp) -> None:
        self._django = django
        self._desk: CallDesk | None = None
        self._hosts = LOOPBACK_HOSTS | frozenset(filter(None, config().allowed_hosts.lower().split(",")))

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
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def start(self) -> None:
        self._desk = CallDesk()
        await self._desk.start()

    async def stop(self) -> None:
        if self._desk is not None:
            await self._desk.stop()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id")
        sane = sane_request_id(given.decode("latin-1")) if given else None
        if given and sane is None:
            scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"x-request-id"]
        request_id = sane or str(new_id())
        request_id_var.set(request_id)
        try:
            guard(scope["method"], headers, self._hosts)
            answer = await self._hot(scope, receive, request_id)
        except ClientGone:
            return
        except NimbusError as error:
            answer = error_answer(error, request_id)
        except Exception:
            log.exception("unhandled exception", extra={"path": scope["path"]})
            answer = error_answer(_internal_error(), request_id)
        if isinstance(answer, HttpAnswer):
            await answer.send(send, request_id)
        elif answer is not None:
            await answer(scope, receive, send)
        else:
            await self._to_django(scope, headers, receive, send, request_id)

    async def _hot(self, scope: Scope, receive: Receive, request_id: str) -> HttpAnswer | AsgiApp | None:
        method, path = scope["method"], scope["path"]
        for route in HOT_ROUTES:
            if route.method == method and (match := route.pattern.fullmatch(path)):
                assert self._desk is not None, "the server must run the lifespan protocol"
                return await route.handler(HttpRequest(scope, receive, request_id, match.groups()), self._desk)
        return None

    async def _to_django(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, send: Send, request_id: str
    ) -> None:
        path = scope["path"]
        if path.endswith("/") and not path.startswith(_SLASHES_KEPT):
            scope = scope | {"path": path.rstrip("/") or "/"}
        limit = config().max_request_bytes
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await error_answer(too_large(limit), request_id).send(send, request_id)
            return

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        await self._django(scope, receive, send_with_id)


def _internal_error() -> NimbusError:
    return NimbusError(
        "Something went wrong inside Nimbus. The log has the details under this request id.", code="internal_error"
    )


application = Entrance(django_application)
