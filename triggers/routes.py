"""The web process's table of custom routes, compiled, from memory. Loaded again when a route or the owner of one has
changed, here or elsewhere, and after MAX_AGE_SEC in any case."""

from __future__ import annotations

import logging
import time

from accounts import acting
from accounts import directory as known_keys
from functions import directory, route_patterns
from functions.models import Function, HttpAuth
from functions.routes import ROUTES
from triggers.route_table import Route, RouteTable

log = logging.getLogger("nimbus.routes")

MAX_AGE_SEC = 5.0
_OWNER = ("owner__is_active", "owner__is_superuser", "owner__member__role")
_FIELDS = ("http_path", "http_methods", "http_auth", "cors", *_OWNER)

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
    rows = Function.objects.exclude(http_path="").order_by("pk").select_related("owner__member").only(*_FIELDS)
    table = RouteTable(route for row in rows if (route := _route(row)) is not None)
    # A change while the rows were being read would otherwise be overwritten by what was read before it.
    if began == _generation:
        _table, _loaded_at = table, time.monotonic()
    return table


def _route(row: Function) -> Route | None:
    try:
        pattern = route_patterns.parse(row.http_path)
    except ValueError:
        log.error("a stored route is none", extra={"function_id": str(row.pk)})
        return None
    return Route(
        function_id=str(row.pk),
        pattern=pattern,
        methods=tuple(row.http_methods),
        needs_key=row.http_auth == HttpAuth.KEY,
        cors=row.cors,
        may_be_called=acting.may_be_called(row.owner),
    )


def _hear(news: str) -> None:
    global _table, _generation
    if news in (ROUTES, directory.EVERYTHING):
        _generation += 1
        _table = None


def _hear_of_keys(news: str) -> None:
    if news == known_keys.EVERYTHING or news.startswith("user:"):
        _hear(directory.EVERYTHING)


directory.listen(_hear)
known_keys.listen(_hear_of_keys)
