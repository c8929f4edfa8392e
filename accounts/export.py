"""The audit log as a file: CSV or JSON, row by row, however long it is."""

from __future__ import annotations

import csv
from collections.abc import AsyncIterator
from typing import Any

import orjson
from django.db.models import QuerySet

from accounts.models import AuditEntry
from accounts.serializers import audit_shape

COLUMNS = (
    "at",
    "actor",
    "key_prefix",
    "address",
    "request_id",
    "action",
    "object_type",
    "object_id",
    "object_name",
    "before",
    "after",
    "id",
)
_CHUNK = 500
# A cell that begins so is a formula to a spreadsheet: names come from users.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class _Line:
    """A file that gives back what is written to it."""

    def write(self, text: str) -> str:
        return text


async def as_csv(entries: QuerySet[AuditEntry]) -> AsyncIterator[str]:
    """A header and a line per entry; `before` and `after` are JSON in a cell."""
    writer: Any = csv.writer(_Line())
    yield writer.writerow(COLUMNS)
    async for entry in entries.aiterator(_CHUNK):
        yield writer.writerow([_cell(getattr(entry, name)) for name in COLUMNS])


async def as_json(entries: QuerySet[AuditEntry]) -> AsyncIterator[bytes]:
    """The shape of the list with all that there is on one page, an entry a line."""
    yield b'{"audit":['
    separator, count = b"\n", 0
    async for entry in entries.aiterator(_CHUNK):
        yield separator + orjson.dumps(audit_shape(entry))
        separator, count = b",\n", count + 1
    yield b'\n],"total":%d,"offset":0,"limit":%d}\n' % (count, count)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    text = orjson.dumps(value).decode() if isinstance(value, dict | list) else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
