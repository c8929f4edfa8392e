"""The web process's table of custom routes, compiled, from memory. Loaded again when a route has changed, here or
elsewhere, and after MAX_AGE_SEC in any case."""

from __future__ import annotations

import logging
import time

from functions import directory, route_patterns
from functions.models import Function, HttpAuth
from functions.routes import ROUTES
from triggers.route_table import Route, RouteTable

log = logging.getLogger("nimbus.routes")

MAX_AGE_SEC = 5.0

_table: RouteTable | None = None
_loaded_at = 0.0
_generation = 0


def known() -> RouteTable | None:
    """From memory or not at all: never blocks."""
    return _table if _table is not None and time.monotonic() - _loaded_at < MAX_AGE_SEC else None


def load() -> RouteTable:
    """From the database, into memory."""
    global _table, _loaded_at
    began = _generation
    fields = ("pk", "http_path", "http_methods", "http_auth", "cors")
    rows = Function.objects.exclude(http_path="").order_by("pk").values_list(*fields)
    table = RouteTable(route for row in rows if (route := _route(*row)) is not None)
    # A change while the rows were being read would otherwise be overwritten by what was read before it.
    if began == _generation:
        _table, _loaded_at = table, time.monotonic()
    return table


def _route(pk: object, path: str, methods: list[str], auth: str, cors: dict[str, object]) -> Route | None:
    try:
        pattern = route_patterns.parse(path)
    except ValueError:
        log.error("a stored route is none", extra={"function_id": str(pk)})
        return None
    return Route(
        function_id=str(pk), pattern=pattern, methods=tuple(methods), needs_key=auth == HttpAuth.KEY, cors=cors
    )


def _hear(news: str) -> None:
    global _table, _generation
    if news in (ROUTES, directory.EVERYTHING):
        _generation += 1
        _table = None


directory.listen(_hear)
