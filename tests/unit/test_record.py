"""Records of runs and messages of calls survive their way."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from invocations.outcome import Fault, LogLine, Outcome, StartKind, Status
from invocations.record import CallMessage, RunRecord, record_of

# What can be in JSON text: everything but lone surrogates.
text = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
moment = st.floats(0, 4e12)
lines = st.lists(st.tuples(st.integers(0, 2**45), st.sampled_from(["stdout", "stderr"]), text), max_size=4)

records = st.builds(
    RunRecord,
    id=text,
    request_id=text,
    function_id=text,
    function_name=text,
    runtime=text,
    version=st.integers(1, 2**31),
    alias=text,
    trigger_type=text,
    session_key=text,
    worker_id=text,
    status=text,
    fault=text,
    error=text,
    error_type=text,
    stack_trace=st.lists(text, max_size=3),
    start_kind=text,
    created_ms=moment,
    started_ms=st.none() | moment,
    completed_ms=moment,
    duration_ms=moment,
    queue_ms=moment,
    memory_used_mb=st.none() | moment,
    logs=lines,
    input=st.binary(max_size=200),
    output=st.none() | st.binary(max_size=200),
)


def call(**changes: Any) -> CallMessage:
    values: dict[str, Any] = dict.fromkeys(("id", "request_id", "function_id", "function_name", "runtime"), "x")
    values |= {"version": 1, "created_ms": 1000.0, "start_before_ms": 31_000.0, "reply_to": "web"}
    return CallMessage(**values | changes)


@given(records)
def test_a_record_comes_back_as_it_was(record: RunRecord) -> None:
    back = RunRecord.from_bytes(record.to_bytes())
    back.logs[:] = [tuple(line) for line in back.logs]  # type: ignore[misc]
    assert back == record


@pytest.mark.parametrize("output", [None, b""])
def test_no_output_and_an_empty_one_are_two_things(output: bytes | None) -> None:
    record = record_of(call(), Outcome(status=Status.SUCCESS, output=output), event=b"{}", completed_ms=2.0)
    assert RunRecord.from_bytes(record.to_bytes()).output == output


def test_a_message_comes_back_as_it_was() -> None:
    sent = call(alias="prod", session_key="ü", slot=True)
    assert CallMessage.from_wire(orjson.loads(orjson.dumps(sent.to_wire()))) == sent


def test_a_message_of_a_newer_release_is_understood() -> None:
    assert CallMessage.from_wire(call().to_wire() | {"not_known_here": 1}) == call()


@pytest.mark.parametrize(
    ("started_ms", "queue_ms"),
    [(1500.0, 500.0), (None, 4000.0), (900.0, 0.0)],  # began, never began, began on a slower clock
)
def test_the_time_in_the_queue_is_never_negative(started_ms: float | None, queue_ms: float) -> None:
    record = record_of(call(), Outcome(status=Status.SUCCESS), event=b"{}", completed_ms=5000.0, started_ms=started_ms)
    assert record.queue_ms == queue_ms


def test_a_record_carries_everything_of_its_call_and_outcome() -> None:
    """Each in its place: values in order are many, and alike."""
    outcome = Outcome(
        status=Status.FAILED, fault=Fault.FUNCTION, output=b"{}", error="e", error_type="T", stack_trace=("s",),
        duration_ms=3.0, memory_used_mb=4.0, logs=(LogLine(7, "stderr", "l"),),
    )  # fmt: skip
    whose = {"owner_id": 5, "caller_id": 6, "alias": "prod", "environment": "e1", "trigger_type": "route"}
    names = ("id", "request_id", "function_id", "function_name", "runtime")
    sent = call(**whose, session_key="s", version=2, **{name: f"the {name}" for name in names})
    record = record_of(
        sent, outcome, event=b"[]", completed_ms=1900.0, started_ms=1100.0, start=StartKind.WARM, worker_id="w"
    )
    of_call = {name: getattr(sent, name) for name in {f.name for f in fields(CallMessage)} & set(_NAMES)}
    assert {name: getattr(record, name) for name in _NAMES} == of_call | {
        "status": "failed", "fault": "function", "error": "e", "error_type": "T", "stack_trace": ["s"],
        "start_kind": "warm", "started_ms": 1100.0, "completed_ms": 1900.0, "duration_ms": 3.0, "queue_ms": 100.0,
        "memory_used_mb": 4.0, "logs": [(7, "stderr", "l")], "input": b"[]", "output": b"{}", "worker_id": "w",
    }  # fmt: skip


_NAMES = [f.name for f in fields(RunRecord)]
