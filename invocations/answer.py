"""A finished run -> the HTTP answer of `/invoke`. Pure: bytes in, bytes out."""

from __future__ import annotations

import math

import orjson

from invocations.outcome import Fault, Status
from invocations.record import RunRecord
from nimbus_project.core.errors import NimbusError, Unavailable

LOG_TAIL_BYTES = 4096
_HTTP_STATUS: dict[str, int] = {Status.SUCCESS: 200, Status.FAILED: 500, Status.TIMEOUT: 504, Status.CANCELLED: 500}


def http_status(status: str) -> int:
    return _HTTP_STATUS[status]


def platform_error(run: RunRecord) -> NimbusError | None:
    """What to answer instead of the function when it never got to run, else None."""
    if run.fault != Fault.PLATFORM:
        return None
    return Unavailable(run.error, code=snake_case(run.error_type))


def http_body(run: RunRecord, *, logs: bool) -> bytes:
    """``request_id status_code body error* error_type* stack_trace[]* duration_ms cold_start billed_time_ms version
    alias_used* logs*``, the result's bytes put in as the runner made them."""
    head = {"request_id": run.request_id, "invocation_id": run.id, "status_code": http_status(run.status)}
    tail: dict[str, object] = {}
    if run.error or run.status != Status.SUCCESS:
        tail |= {"error": run.error, "error_type": run.error_type}
        if run.stack_trace:
            tail["stack_trace"] = run.stack_trace
    tail |= {
        "duration_ms": round(run.duration_ms, 3),
        "cold_start": run.start_kind == "cold",
        "start_kind": run.start_kind,
        "billed_time_ms": billed_ms(run.duration_ms),
        "version": run.version,
    }
    if run.alias:
        tail["alias_used"] = run.alias
    if logs:
        tail["logs"] = log_tail(run)
    return b"".join((orjson.dumps(head)[:-1], b',"body":', run.output or b"null", b",", orjson.dumps(tail)[1:]))


def billed_ms(duration_ms: float) -> int:
    """Whole milliseconds begun, at least one."""
    return max(1, math.ceil(duration_ms))


def log_tail(run: RunRecord) -> str:
    """The last 4 KiB of what was printed, from a whole line on if there is one."""
    text = "".join(f"{line}\n" for _, _, line in run.logs)
    encoded = text.encode()
    if len(encoded) <= LOG_TAIL_BYTES:
        return text
    cut = encoded[-LOG_TAIL_BYTES:]
    whole = cut.find(b"\n") + 1
    return cut[whole if 0 < whole < len(cut) else 0 :].decode(errors="ignore")


def snake_case(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
