"""``offset``, ``limit``, ``cursor``, ``before`` and ``after`` of lists, and the shape of their answer."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from django.utils.dateparse import parse_datetime

from nimbus_project.core.errors import InvalidRequest

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
# Above it PostgreSQL's bigint OFFSET and SQLite's would overflow; no list is that long.
MAX_OFFSET = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Page:
    offset: int = 0
    limit: int = DEFAULT_LIMIT

    def answer(self, plural: str, rows: Sequence[Any], total: int, **more: Any) -> dict[str, Any]:
        return {plural: list(rows), "total": total, "offset": self.offset, "limit": self.limit, **more}


def page_from(query: Mapping[str, str]) -> Page:
    """Raises InvalidRequest for anything that is not a non-negative integer; clamps `limit` to 100."""
    offset = _non_negative(query, "offset", 0)
    limit = min(_non_negative(query, "limit", DEFAULT_LIMIT), MAX_LIMIT)
    return Page(offset, limit)


def _non_negative(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidRequest(
            f"{name} must be a non-negative integer.", details={name: ["Must be a non-negative integer."]}
        )
    return min(int(text), MAX_OFFSET)


Cursor = tuple[datetime, UUID]
"""The last row of the page before: when it was made, and its id."""


def cursor_after(at: datetime, row_id: UUID) -> str:
    """The `next_cursor` of a list that ends with this row: opaque to clients."""
    return base64.urlsafe_b64encode(orjson.dumps([at.isoformat(), str(row_id)])).decode().rstrip("=")


def cursor_from(query: Mapping[str, str]) -> Cursor | None:
    """Raises InvalidRequest for anything that `cursor_after` has not made."""
    text = query.get("cursor")
    if not text:
        return None
    try:
        at, row_id = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        return moment.astimezone(UTC), UUID(row_id)
    except (ValueError, TypeError, AttributeError, OverflowError, binascii.Error) as error:
        raise _invalid("cursor", "Must be a next_cursor of an earlier answer.") from error


def moment_from(query: Mapping[str, str], name: str) -> datetime | None:
    """A time in UTC. Raises InvalidRequest for what is none."""
    text = query.get(name)
    if not text:
        return None
    try:
        # "+" in a query string is a space: 2026-01-01T00:00:00+00:00 arrives with one.
        moment = parse_datetime(text.replace(" ", "+") if "T" in text else text)
        moment = moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
        moment = moment.astimezone(UTC) if moment is not None else None
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise _invalid(name, "Must be a time such as 2026-01-31T12:00:00Z (RFC 3339).")
    return moment


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", details={field: [message]})
