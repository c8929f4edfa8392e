"""ASGI by hand, for the few routes that are answered before Django: a request, an answer, and the guard at the door.

The guard is there with and without API keys: known `Host` names only (DNS rebinding), and no request that a foreign web
page made a browser send (cross-site posts).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from nimbus_project.core.errors import Forbidden, NimbusError, TooLarge

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


class ClientGone(Exception):
    """The caller hung up."""


@dataclass(slots=True)
class HttpRequest:
    """One request. Header names are lower case."""

    scope: Scope
    receive: Receive
    request_id: str
    path_args: tuple[str, ...] = ()
    _headers: dict[bytes, bytes] = field(init=False)
    _query: dict[str, str] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._headers = dict(self.scope["headers"])

    @property
    def method(self) -> str:
        method: str = self.scope["method"]
        return method

    @property
    def raw_headers(self) -> dict[bytes, bytes]:
        """The last value of each."""
        return self._headers

    def header(self, name: bytes) -> str:
        return self._headers.get(name, b"").decode("latin-1")

    @property
    def query(self) -> dict[str, str]:
        """The last value of each name."""
        if self._query is None:
            raw = self.scope["query_string"]
            self._query = dict(parse_qsl(raw.decode("latin-1"), keep_blank_values=True)) if raw else {}
        return self._query

    async def body(self, limit: int) -> bytes:
        """All of it. Raises TooLarge as soon as that is certain, ClientGone."""
        declared = self._headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            raise too_large(limit)
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise too_large(limit)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def too_large(limit: int) -> TooLarge:
    return TooLarge(f"The request body is too large: at most {limit} bytes are allowed here.")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content_type: bytes = b"application/json"

    async def send(self, send: Send, request_id: str) -> None:
        head = [
            (b"content-type", self.content_type),
            (b"content-length", str(len(self.body)).encode()),
            (b"x-request-id", request_id.encode()),
            *self.headers,
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": head})
        await send({"type": "http.response.body", "body": self.body})


def error_answer(error: NimbusError, request_id: str) -> HttpAnswer:
    headers = tuple((k.lower().encode(), v.encode()) for k, v in error.headers().items())
    return HttpAnswer(error.http_status, orjson.dumps(error.body(request_id)), headers)


def json_answer(value: Any, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()) -> HttpAnswer:
    return HttpAnswer(status, orjson.dumps(value), tuple(headers))


def guard(method: str, headers: dict[bytes, bytes], allowed_hosts: frozenset[str]) -> None:
    """Raises Forbidden for a foreign `Host` and for a state-changing request from another site's page."""
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if host_name(host) not in allowed_hosts:
        raise Forbidden(
            "This Host is not served here. Use localhost, or name the host in NIMBUS_ALLOWED_HOSTS.",
            code="host_not_allowed",
        )
    if method in SAFE_METHODS:
        return
    site = headers.get(b"sec-fetch-site")
    origin = headers.get(b"origin")
    if site in (b"cross-site", b"same-site") or (origin is not None and not _own_origin(origin, host)):
        raise Forbidden("Requests from other sites' pages are refused.", code="cross_site")


def host_name(host: str) -> str:
    """Without its port; an IPv6 address keeps its brackets."""
    if host.startswith("["):
        return host[: host.find("]") + 1]
    return host.partition(":")[0]


def _own_origin(origin: bytes, host: str) -> bool:
    try:
        return urlsplit(origin.decode("latin-1").lower()).netloc == host
    except ValueError:
        # No URL at all, such as "http://[".
        return False
