"""The part of the entrance that is open to strangers: which requests are for a webhook or a custom route, and how they
pass the guard that all others must.

The guard refuses foreign `Host` names and other sites' pages, because behind it a browser's visitor, or the loopback
itself, is trusted. A webhook trusts nobody but the holder of its key, so it is exempt. A custom route is exempt for the
origins that its owner has named, and for nothing else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from accounts.door import Door
from functions.routes import reserved
from invocations.calls import CallDesk
from nimbus_project.config import Config
from nimbus_project.core.errors import NimbusError, NotFound
from nimbus_project.core.http import HttpRequest, Receive, Scope, host_name
from triggers import deliveries, hot, routes
from triggers.gate import Answer, Gate, refusal
from triggers.http_answers import Pairs
from triggers.route_table import Route, RouteTable

_WEBHOOK = "/webhook/"
# On a host where the console and the API are, a page of a function must not be able to act as them.
_SANDBOX = b"sandbox allow-scripts allow-forms allow-popups allow-modals allow-downloads"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that is for strangers' part of the platform."""

    request: HttpRequest
    routes: list[Route] = field(default_factory=list)
    """Those that match the path; empty: a webhook, or nothing that is there."""
    is_webhook: bool = False

    @property
    def passes_guard(self) -> bool:
        """Whether neither `Host` nor `Origin` matters."""
        return self.is_webhook or (bool(self.routes) and hot.opens_to(self.routes, self.request))


class Outside:
    """One per web process; lives in its event loop."""

    def __init__(self, config: Config, desk: CallDesk, door: Door) -> None:
        self._desk = desk
        self.gate = Gate(desk, door)
        self._hosts = config.route_host_names
        self._sandboxes = config.keys_required and not self._hosts
        self._reserved = reserved()
        self._loading = asyncio.Lock()
        self._writer = asyncio.create_task(deliveries.write_behind(desk))

    async def close(self) -> None:
        self._writer.cancel()
        await asyncio.gather(self._writer, return_exceptions=True)
        await asyncio.gather(self._desk.in_thread(deliveries.flush), return_exceptions=True)
        await self.gate.close()

    async def asked(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive, request_id: str) -> Asked | None:
        """What a request is for, or None for the API, the console and all else that Django answers."""
        path: str = scope["path"]
        if path.startswith(_WEBHOOK):
            return Asked(HttpRequest(scope, receive, request_id, (path[len(_WEBHOOK) :],)), is_webhook=True)
        if not self._has_routes(headers):
            return None
        found = [] if self._is_reserved(path) else (await self._table()).matches(path)
        return Asked(HttpRequest(scope, receive, request_id), found) if found or self._hosts else None

    def known_routes(self, path: str, headers: dict[bytes, bytes]) -> list[Route]:
        """Those that match the path, from memory: none too when they have to be loaded."""
        table = routes.known()
        if table is None or self._is_reserved(path) or not self._has_routes(headers):
            return []
        return table.matches(path)

    def _has_routes(self, headers: dict[bytes, bytes]) -> bool:
        """Whether this host may have any."""
        return not self._hosts or _host(headers) in self._hosts

    def _is_reserved(self, path: str) -> bool:
        return path == "/" or path[1:].partition("/")[0] in self._reserved

    async def answer(self, asked: Asked) -> Answer:
        """Never raises NimbusError."""
        request = asked.request
        try:
            if asked.is_webhook:
                await self.gate.door.admit_stranger(request.scope)
                return await hot.webhook(request, self.gate)
            if not asked.routes:
                raise NotFound("There is nothing at this address.")
        except NimbusError as error:
            return refusal(error, request)
        answer = await hot.route(request, asked.routes, self.gate)
        return answer.with_headers(self.sandboxed(answer.passed.headers))

    def sandboxed(self, headers: Pairs) -> Pairs:
        """Those of a route's answer, with what keeps its page apart."""
        return (*headers, (b"content-security-policy", _SANDBOX)) if self._sandboxes else headers

    async def _table(self) -> RouteTable:
        if (table := routes.known()) is not None:
            return table
        async with self._loading:
            # One of those who waited for the lock has loaded it.
            if (table := routes.known()) is not None:
                return table
            return await self._desk.in_thread(routes.load)


def _host(headers: dict[bytes, bytes]) -> str:
    return host_name(headers.get(b"host", b"").decode("latin-1").lower())
