"""Rows that wait, by function: which functions have some, and taking the first of one. Invocations and reports of runs
wait alike: `status` pending, `function_id`, `next_attempt_at`, and an index over the last two of those that are
pending.

Written in SQL because both questions stand or fall with that index. SQLite uses an index with a condition only where
the condition stands in the statement as a constant (sqlite.org/partialindex.html), which the ORM makes a parameter; and
no ORM says "take it and give it to me" (UPDATE … RETURNING) in one statement. Neither costs more with 100,000 rows of
one function than with one (a test looks at the plans).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection, models
from django.utils.dateparse import parse_datetime

Row = TypeVar("Row", bound=models.Model)

FIRST = UUID(int=0)

# From one function to the next by the index, without reading what lies between: SQL's way of a "loose index scan"
# (wiki.postgresql.org/wiki/Loose_indexscan).
_WAITING = """
WITH RECURSIVE waiting(function_id) AS (
  SELECT (SELECT function_id FROM {table} WHERE status = 'pending' AND function_id > %s ORDER BY function_id LIMIT 1)
  UNION ALL
  SELECT (SELECT t.function_id FROM {table} t WHERE t.status = 'pending' AND t.function_id > waiting.function_id
          ORDER BY t.function_id LIMIT 1)
  FROM waiting WHERE waiting.function_id IS NOT NULL
)
SELECT waiting.function_id, (SELECT r.next_attempt_at FROM {table} r
                             WHERE r.status = 'pending' AND r.function_id = waiting.function_id
                             ORDER BY r.next_attempt_at LIMIT 1)
FROM waiting WHERE waiting.function_id IS NOT NULL LIMIT %s
"""
_TAKE = """
UPDATE {table} SET {changes} WHERE status = 'pending' AND id = (
  SELECT id FROM {table} WHERE status = 'pending' AND function_id = %s AND next_attempt_at <= %s
  ORDER BY next_attempt_at LIMIT 1 {lock}
) RETURNING *
"""


def waiting(model: type[models.Model], after: UUID, limit: int) -> list[tuple[UUID, datetime]]:
    """Functions with pending rows, in the order of their ids from behind `after` on, and when each one's first is
    due."""
    sql = _WAITING.format(table=model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(sql, [_uuid_value(model, after), limit])
        rows = cursor.fetchall()
    # A row may have been taken between the two looks.
    return [(_as_uuid(function_id), _as_moment(due)) for function_id, due in rows if due is not None]


def take(model: type[Row], function_id: UUID, now: datetime, changes: Mapping[str, Any]) -> Row | None:
    """Change the first due row of a function and return it as it is then; None when there is none that nobody else is
    about to take. One statement: of several who ask at once each gets another row, without waiting for one another
    (SKIP LOCKED; SQLite has one writer at a time anyway). Values are `F`-like SQL when they are `Sql`."""
    columns: list[str] = []
    values: list[Any] = []
    for name, value in changes.items():
        if isinstance(value, Sql):
            columns.append(f"{name} = {value.text}")
            values += value.params
        else:
            columns.append(f"{name} = %s")
            values.append(value)
    lock = "FOR UPDATE SKIP LOCKED" if connection.features.has_select_for_update_skip_locked else ""
    sql = _TAKE.format(table=model._meta.db_table, changes=", ".join(columns), lock=lock)
    # `raw` because it turns what the database gives into a model; it asks no more than to be given rows.
    taken = list(model._default_manager.raw(sql, [*values, _uuid_value(model, function_id), now]))
    return taken[0] if taken else None


class Sql:
    """An expression instead of a value."""

    def __init__(self, text: str, *params: Any) -> None:
        self.text = text
        self.params = params


def milliseconds_since(column: str, now: datetime) -> Sql:
    """From a column's time until `now`, at least 0."""
    if connection.vendor == "postgresql":
        return Sql(f"GREATEST(0, EXTRACT(EPOCH FROM %s - {column}) * 1000)", now)
    return Sql(f"MAX(0, ROUND((julianday(%s) - julianday({column})) * 86400000.0, 1))", now)


def _uuid_value(model: type[models.Model], value: UUID) -> Any:
    """As the database has it."""
    column = model._meta.get_field("function_id")
    assert isinstance(column, models.Field)
    return column.get_db_prep_value(value, connection)


def _as_uuid(value: Any) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)


def _as_moment(value: Any) -> datetime:
    moment = value if isinstance(value, datetime) else parse_datetime(value)
    assert moment is not None, "a time that Django has written"
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
