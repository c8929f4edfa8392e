"""Records of finished runs, made up: ordinary ones and any."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from invocations.outcome import Fault, StartKind, Status
from invocations.record import RunRecord
from nimbus_project.core.ids import new_id

NASTY = [
    "",
    "\\",
    "\\\\",
    "\\N",
    "\\.",
    "\\n",
    "\\x41",
    "\\101",
    "ends in \\",
    "\t",
    "a\tb\t",
    "\n",
    "a\r\nb\r",
    "\nL\tx",
    "L\t",
    "\x01\x08\x0b\x0c\x1b\x1c\x1d\x1e\x7f",
    "\x85\u2028\u2029",
    "\ufeff\ufffd\uffff",
    "é 𝄞 漢字 \u202e",
    "'; DROP TABLE invocations; --",
    '"quoted" {json} [1]',
    "%s %(name)s {}",
]
"""Text that COPY, JSON, SQL or a reader of lines may take for something else. PostgreSQL has no NUL in any text."""
WHEN = {"created_at": "created_ms", "started_at": "started_ms", "completed_at": "completed_ms"}
"""Columns and the fields of a record that they come from."""

_TEXT = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
_MOMENT = st.floats(0, 4e12)
_AMOUNT = st.floats(0, 1e9)


def run(**changes: Any) -> RunRecord:
    """An ordinary one."""
    values: dict[str, Any] = {
        "id": str(new_id()),
        "request_id": "r-1",
        "function_id": str(new_id()),
        "function_name": "hello",
        "runtime": "python3.11",
        "version": 1,
        "status": "success",
        "worker_id": "w1",
        "created_ms": 1_700_000_000_000.0,
        "started_ms": 1_700_000_000_010.0,
        "completed_ms": 1_700_000_000_020.0,
        "duration_ms": 9.5,
        "queue_ms": 10.0,
        "input": b'{"a": "\\u0000"}',
        "output": b"[1]",
        "logs": [(1, "stdout", "hi")],
    }
    return RunRecord(**values | changes)


def any_run() -> st.SearchStrategy[RunRecord]:
    """Whatever a column has room for."""

    def text(size: int) -> st.SearchStrategy[str]:
        return st.text(_TEXT, max_size=min(size, 30)) | st.sampled_from([each for each in NASTY if len(each) <= size])

    owners = st.none() | st.integers(1, 2**62)
    lines = st.tuples(st.integers(0, 2**53), st.sampled_from(["stdout", "stderr", "system"]), text(100))
    return st.builds(
        RunRecord,
        id=st.uuids().map(str),
        request_id=text(128),
        function_id=st.uuids().map(str),
        function_name=text(64),
        runtime=text(32),
        version=st.integers(1, 2**31 - 1),
        owner_id=owners,
        caller_id=owners,
        alias=text(64),
        environment=text(64),
        trigger_type=text(16),
        session_key=text(256),
        worker_id=text(128),
        status=st.sampled_from([each.value for each in Status]),
        fault=st.sampled_from(["", *(each.value for each in Fault)]),
        error=text(1000),
        error_type=text(128),
        stack_trace=st.lists(text(100), max_size=3),
        start_kind=st.sampled_from(["", *(each.value for each in StartKind)]),
        created_ms=_MOMENT,
        started_ms=st.none() | _MOMENT,
        completed_ms=_MOMENT,
        duration_ms=_AMOUNT,
        queue_ms=_AMOUNT,
        memory_used_mb=st.none() | _AMOUNT,
        logs=st.lists(lines, max_size=3),
        input=st.binary(max_size=60),
        output=st.none() | st.binary(max_size=60),
    )
