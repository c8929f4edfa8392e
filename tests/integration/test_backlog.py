"""Rows that wait: found function by function, taken one by one, at the same cost however many there are."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection

from invocations import backlog, lifecycle
from invocations.backlog import FIRST
from invocations.models import Invocation
from nimbus_project.core.ids import new_id
from tests.integration.plane import in_threads, make_row

pytestmark = pytest.mark.usefixtures("transactional_db")

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def claim(function_id: UUID, now: datetime = NOW) -> Invocation | None:
    return lifecycle.claim(function_id, "w", now, 10.0)


def many(function_id: UUID, count: int) -> None:
    """Pending rows of one function, a millisecond apart, the newest one due now."""
    rows = [
        Invocation(
            request_id="r",
            function_id=function_id,
            function_name="f",
            runtime="python3.11",
            version=1,
            input=b"{}",
            created_at=NOW,
            next_attempt_at=NOW - timedelta(milliseconds=number),
        )
        for number in range(count)
    ]
    Invocation.objects.bulk_create(rows, batch_size=5000)


def test_each_function_once_with_its_first_row() -> None:
    functions = sorted(new_id() for _ in range(3))
    for number, function_id in enumerate(functions):
        for minutes in (5, 1, 3):
            make_row(NOW + timedelta(minutes=minutes * (number + 1)), function_id=function_id)
    first = [NOW + timedelta(minutes=number + 1) for number in range(3)]
    assert backlog.waiting(Invocation, FIRST, 10) == list(zip(functions, first, strict=True))
    assert backlog.waiting(Invocation, FIRST, 2) == list(zip(functions, first, strict=True))[:2]
    assert backlog.waiting(Invocation, functions[1], 10) == [(functions[2], first[2])]
    assert backlog.waiting(Invocation, functions[2], 10) == []


def test_what_does_not_wait_is_not_there() -> None:
    ended, running, waiting = (make_row(NOW) for _ in range(3))
    assert claim(running.function_id)
    assert lifecycle.cancel(ended.pk, NOW)
    assert backlog.waiting(Invocation, FIRST, 10) == [(waiting.function_id, NOW)]


def test_the_longest_waiting_is_taken_first() -> None:
    function_id = new_id()
    rows = {minutes: make_row(NOW - timedelta(minutes=minutes), function_id=function_id) for minutes in (1, 3, 2)}
    taken = [claim(function_id) for _ in range(4)]
    assert [row and row.pk for row in taken] == [rows[3].pk, rows[2].pk, rows[1].pk, None]


def test_what_is_not_due_is_left() -> None:
    function_id = new_id()
    make_row(NOW, function_id=function_id, delay_sec=10)
    assert claim(function_id, NOW + timedelta(seconds=9.999)) is None
    assert claim(function_id, NOW + timedelta(seconds=10)) is not None


def test_many_who_take_at_once_get_a_row_each() -> None:
    function_id = new_id()
    many(function_id, 64)

    def take_four(_: int) -> list[UUID]:
        return [row.pk for _ in range(4) if (row := claim(function_id)) is not None]

    taken = [pk for got in in_threads(16, take_four) for pk in got]  # type: ignore[union-attr]
    assert len(taken) == len(set(taken)) == 64
    assert Counter(Invocation.objects.values_list("status", "attempt")) == {("running", 1): 64}


def test_the_plans_do_not_read_the_backlog() -> None:
    """The statements themselves, as the database would run them: no scan of the table, no sort of a function's rows."""
    function_id = new_id()
    many(function_id, 20_000)
    many(new_id(), 3)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE invocations_invocation")
        statements: list[str] = []

        def keep(execute, sql, params, many, context):  # type: ignore[no-untyped-def]
            statements.append(cursor.mogrify(sql, params) if connection.vendor == "postgresql" else sql)
            kept.append((sql, params))
            return execute(sql, params, many, context)

        kept: list[tuple[str, tuple[object, ...]]] = []
        with connection.execute_wrapper(keep):
            assert claim(function_id) is not None
            assert len(backlog.waiting(Invocation, FIRST, 10)) == 2
        for sql, params in kept:
            explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
            cursor.execute(f"{explain} {sql}", params)
            plan = "\n".join(str(row) for row in cursor.fetchall())
            assert "invocation_waiting" in plan, plan
            assert "Seq Scan" not in plan and "SCAN invocations" not in plan, plan
            assert "Sort" not in plan and "TEMP B-TREE" not in plan, plan
