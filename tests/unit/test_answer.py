"""A finished run as the HTTP answer of `/invoke`."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from invocations import answer
from invocations.record import RunRecord

ALWAYS = {
    "request_id",
    "invocation_id",
    "status_code",
    "body",
    "duration_ms",
    "cold_start",
    "start_kind",
    "billed_time_ms",
    "version",
}


def record(**changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "id": "i",
        "request_id": "r",
        "function_id": "f",
        "function_name": "hello",
        "runtime": "python3.11",
        "version": 3,
        "status": "success",
        "start_kind": "warm",
        "created_ms": 0.0,
        "completed_ms": 1.0,
        "duration_ms": 1.23456,
        "output": b"1",
    }
    return RunRecord(**values | changes)


def body_of(run: RunRecord, *, logs: bool = False) -> dict[str, Any]:
    parsed: dict[str, Any] = orjson.loads(answer.http_body(run, logs=logs))
    return parsed


@pytest.mark.parametrize(("status", "code"), [("success", 200), ("failed", 500), ("timeout", 504), ("cancelled", 500)])
def test_the_http_status_mirrors_how_it_ended(status: str, code: int) -> None:
    assert answer.http_status(status) == code
    assert body_of(record(status=status))["status_code"] == code


@pytest.mark.parametrize("text", [b"null", b"0", b'""', b"[]", b'{"a":[1,{"b":"}"}]}', b'"\\u0000\\u2028"', b"1.0"])
def test_the_result_is_put_in_byte_by_byte(text: bytes) -> None:
    encoded = answer.http_body(record(output=text), logs=False)
    assert b',"body":' + text + b"," in encoded
    assert orjson.loads(encoded)["body"] == orjson.loads(text)


def test_a_good_run_has_these_fields_and_no_others() -> None:
    assert set(body_of(record())) == ALWAYS
    assert body_of(record())["duration_ms"] == 1.235


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"status": "failed", "error": "no", "error_type": "ValueError"}, {"error", "error_type"}),
        ({"status": "failed", "error": "", "error_type": "ValueError"}, {"error", "error_type"}),  # raise ValueError()
        ({"status": "failed", "stack_trace": ["a"]}, {"error", "error_type", "stack_trace"}),
        ({"alias": "prod"}, {"alias_used"}),
    ],
)
def test_optional_fields_are_there_when_they_say_something(changes: dict[str, Any], more: set[str]) -> None:
    assert set(body_of(record(**changes))) == ALWAYS | more


@pytest.mark.parametrize(("kind", "cold"), [("cold", True), ("prewarmed", False), ("warm", False), ("", False)])
def test_only_a_new_sandbox_is_a_cold_start(kind: str, cold: bool) -> None:
    assert body_of(record(start_kind=kind))["cold_start"] is cold


@pytest.mark.parametrize(("duration", "billed"), [(0.0, 1), (0.001, 1), (1.0, 1), (1.001, 2), (299_999.5, 300_000)])
def test_milliseconds_begun_are_billed(duration: float, billed: int) -> None:
    assert answer.billed_ms(duration) == billed


@pytest.mark.parametrize(
    ("fault", "error_type", "code"),
    [
        ("platform", "SandboxUnavailable", "sandbox_unavailable"),
        ("platform", "WorkerLost", "worker_lost"),
        ("function", "ValueError", None),
        ("caller", "FunctionDeleted", None),
        ("", "", None),
    ],
)
def test_only_the_platforms_fault_is_answered_by_the_platform(fault: str, error_type: str, code: str | None) -> None:
    error = answer.platform_error(record(status="failed", fault=fault, error="why", error_type=error_type))
    assert (error.error_code if error else None) == code
    if error:
        assert (error.http_status, error.message) == (503, "why")
        assert error.headers()["Retry-After"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ""),
        (["a", "b"], "a\nb\n"),
        (["x" * 4095], "x" * 4095 + "\n"),  # exactly 4 KiB with its newline
        (["first", "x" * 4095], "x" * 4095 + "\n"),
        (["first", "y" * 100, "x" * 4000], "x" * 4000 + "\n"),  # a line that does not fit is left out whole
        (["x" * 5000], "x" * 4095 + "\n"),  # none fits: the end of the last
    ],
)
def test_the_tail_of_the_log_is_whole_lines_of_at_most_4_kib(lines: list[str], expected: str) -> None:
    run = record(logs=[(0, "stdout", line) for line in lines])
    assert body_of(run, logs=True)["logs"] == expected


def test_a_character_is_not_cut_in_two() -> None:
    tail = answer.log_tail(record(logs=[(0, "stdout", "€" * 3000)]))
    assert set(tail) == {"€", "\n"}
    assert 4090 <= len(tail.encode()) <= answer.LOG_TAIL_BYTES
