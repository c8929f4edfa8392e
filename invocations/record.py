"""CallMessage and RunRecord: a synchronous call on its way to a worker, and what became of it on its way back.

Both are plain values with a codec of their own: the record of a finished run goes to the waiting caller and to the
ledger as the same bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, fields
from typing import Any

import orjson

from invocations.outcome import Outcome, StartKind

_HEADER = struct.Struct("!II")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMessage:
    """A synchronous call. Times are Unix milliseconds."""

    id: str
    request_id: str
    function_id: str
    function_name: str
    runtime: str
    version: int
    owner_id: int | None = None
    """The function's owner."""
    caller_id: int | None = None
    """The user who called."""
    alias: str = ""
    environment: str = ""
    generation: int = 0
    """Of the function's secrets and environments, as far as the sender knew: a worker uses none of before."""
    trigger_type: str = "http"
    session_key: str = ""
    created_ms: float
    start_before_ms: float
    """A worker that gets to it later drops it: nobody waits any more."""
    reply_to: str
    """Id of the web process where the caller waits."""
    slot: bool = False
    """The call holds one of the function's `max_concurrency` slots; whoever ends it gives it back."""

    def to_wire(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _CALL_FIELDS}

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> CallMessage:
        return cls(**{f.name: wire[f.name] for f in fields(cls) if f.name in wire})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """A finished synchronous run, whole. Times are Unix milliseconds."""

    id: str
    request_id: str
    function_id: str
    function_name: str
    runtime: str
    version: int
    owner_id: int | None = None
    """The function's owner."""
    caller_id: int | None = None
    """The user who called."""
    alias: str = ""
    environment: str = ""
    trigger_type: str = "http"
    session_key: str = ""
    worker_id: str = ""
    status: str
    fault: str = ""
    error: str = ""
    error_type: str = ""
    stack_trace: list[str] = field(default_factory=list)
    start_kind: str = ""
    created_ms: float
    started_ms: float | None = None
    completed_ms: float
    duration_ms: float = 0.0
    queue_ms: float = 0.0
    memory_used_mb: float | None = None
    logs: list[tuple[int, str, str]] = field(default_factory=list)
    """``[at_ms, stream, text]``"""
    input: bytes = b""
    output: bytes | None = None

    def to_bytes(self) -> bytes:
        """``u32 head size, u32 input size, head JSON, input, output``."""
        head = {name: getattr(self, name) for name in _HEAD_FIELDS}
        head["has_output"] = self.output is not None
        encoded = orjson.dumps(head)
        sizes = _HEADER.pack(len(encoded), len(self.input))
        return b"".join((sizes, encoded, self.input, self.output or b""))

    @classmethod
    def from_bytes(cls, data: bytes) -> RunRecord:
        head_size, input_size = _HEADER.unpack_from(data)
        input_at = _HEADER.size + head_size
        output_at = input_at + input_size
        head = orjson.loads(data[_HEADER.size : input_at])
        output = data[output_at:] if head.pop("has_output") else None
        return cls(**head, input=data[input_at:output_at], output=output)


_CALL_FIELDS = tuple(f.name for f in fields(CallMessage))
_HEAD_FIELDS = tuple(f.name for f in fields(RunRecord) if f.name not in {"input", "output"})


def record_of(
    call: CallMessage,
    outcome: Outcome,
    *,
    event: bytes,
    completed_ms: float,
    start: StartKind | None = None,
    started_ms: float | None = None,
    worker_id: str = "",
) -> RunRecord:
    """The record of a call that came to this outcome."""
    return RunRecord(
        id=call.id,
        request_id=call.request_id,
        function_id=call.function_id,
        function_name=call.function_name,
        runtime=call.runtime,
        version=call.version,
        owner_id=call.owner_id,
        caller_id=call.caller_id,
        alias=call.alias,
        environment=call.environment,
        trigger_type=call.trigger_type,
        session_key=call.session_key,
        worker_id=worker_id,
        status=outcome.status,
        fault=outcome.fault or "",
        error=outcome.error,
        error_type=outcome.error_type,
        stack_trace=list(outcome.stack_trace),
        start_kind=start or "",
        created_ms=call.created_ms,
        started_ms=started_ms,
        completed_ms=completed_ms,
        duration_ms=outcome.duration_ms,
        queue_ms=max(0.0, (started_ms or completed_ms) - call.created_ms),
        memory_used_mb=outcome.memory_used_mb,
        logs=[(line.at_ms, line.stream, line.text) for line in outcome.logs],
        input=event,
        output=outcome.output,
    )
