"""Finished runs as lines of text: whatever is in them comes back as it was. The database's side is in
tests/integration/test_ledger.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invocations import rows
from invocations.models import Invocation, InvocationLog
from tests.runs import NASTY, WHEN, any_run, run


def back(line: bytes) -> Invocation:
    return rows.parse(Invocation, rows.COLUMNS, line)


@given(any_run())
def test_what_was_written_is_read(record: Any) -> None:
    runs, logs = rows.split(rows.lines_of(record))
    assert runs.count(b"\n") == 1 and runs.endswith(b"\n")
    row = back(runs)
    same = ("request_id", "function_name", "runtime", "version", "owner_id", "caller_id", "environment", "trigger_type")
    same += ("session_key", "status", "fault", "error", "error_type", "stack_trace", "start_kind", "worker_id", "input")
    same += ("output", "duration_ms", "queue_ms", "memory_used_mb")
    for name in same:
        assert getattr(row, name) == getattr(record, name), name
    assert (str(row.pk), str(row.function_id), row.alias_used) == (record.id, record.function_id, record.alias)
    for name, ms in WHEN.items():
        at = getattr(record, ms)
        expected = None if at is None else datetime.fromtimestamp(0, UTC) + timedelta(microseconds=round(at * 1000))
        assert getattr(row, name) == expected, name
    assert (row.attempt, row.max_attempts, row.attempts, row.next_attempt_at) == (1, 1, [], None)
    if not record.logs:
        assert logs == b""
        return
    told = rows.parse(InvocationLog, rows.LOG_COLUMNS, logs)
    assert (str(told.pk), str(told.function_id)) == (record.id, record.function_id)
    assert orjson.loads(bytes(told.lines)) == [list(line) for line in record.logs]


@pytest.mark.parametrize("text", NASTY)
def test_text_that_looks_like_something_else(text: str) -> None:
    record = run(error=text, session_key=text, stack_trace=[text, text], request_id=text, logs=[(1, "stdout", text)])
    runs, logs = rows.split(rows.lines_of(record))
    row = back(runs)
    assert (row.error, row.session_key, row.request_id, row.stack_trace) == (text, text, text, [text, text])
    told = rows.parse(InvocationLog, rows.LOG_COLUMNS, logs)
    assert orjson.loads(bytes(told.lines)) == [[1, "stdout", text]]


@given(st.lists(any_run(), max_size=6))
def test_runs_and_what_they_printed_are_told_apart(records: list[Any]) -> None:
    lines = b"".join(rows.lines_of(record) for record in records)
    runs, logs = rows.split(lines)
    assert [str(back(line).pk) for line in runs.splitlines(keepends=True)] == [record.id for record in records]
    told = [rows.parse(InvocationLog, rows.LOG_COLUMNS, line) for line in logs.splitlines(keepends=True)]
    assert [str(row.pk) for row in told] == [record.id for record in records if record.logs]


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(ValueError):
        rows.lines_of(run(error="\ud800"))


def test_a_run_that_never_began_costs_nothing() -> None:
    assert back(rows.lines_of(run(started_ms=None, duration_ms=0.0, logs=[]))).billed_time_ms == 0
    assert back(rows.lines_of(run(duration_ms=0.2, logs=[]))).billed_time_ms == 1


def test_every_column_is_in_a_line() -> None:
    """Also one that is added to the model later: else COPY and the ORM would store different rows."""
    assert set(rows.COLUMNS.split(",")) == {field.column for field in Invocation._meta.concrete_fields}
    line = rows.lines_of(run(logs=[])).removesuffix(b"\n").split(b"\t")
    assert len(line) == len(rows.COLUMNS.split(","))


@pytest.mark.parametrize("line", [b"", b"\n", b"x\n", b"a\tb\n", b"\xff\xfe\n", b"\t" * 200 + b"\n"])
def test_rubbish_is_no_row(line: bytes) -> None:
    with pytest.raises((ValueError, KeyError)):
        back(line)
