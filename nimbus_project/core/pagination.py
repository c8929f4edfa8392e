"""``offset`` and ``limit`` of every list, and the shape of its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
