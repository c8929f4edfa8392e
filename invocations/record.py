"""CallMessage and RunRecord: a synchronous call on its way to a worker, and what became of it on its way back.

Both are plain values with a codec of their own: the record of a finished run goes to the waiting caller and to the
ledger as the same bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

import orjson

from invocations.outcome import Outcome, StartKind

_HEADER = struct.Struct("!II")


# Values, treated as frozen; a dataclass that is frozen indeed takes three times as long to make, on each call's path.
@dataclass(slots=True)
class CallMessage:
    """A synchronous call. Times are Unix milliseconds."""

    id: str
    request_id: str
    function_id: str
    function_name: str
    runtime: str
    version: int
    created_ms: float
    start_before_ms: float
    """A worker that gets to it later drops it: nobody waits any more."""
    reply_to: str
    """Id of the web process where the caller waits; on the direct lane its connection says that."""
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
    slot: bool = False
    """The call holds one of the function's `max_concurrency` slots; whoever ends it gives it back."""
    is_repeatable: bool = False
    """It has an idempotency key: its result is kept whole, however large, for whoever asks again."""

    def to_wire(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _CALL_FIELDS}

    def to_head(self) -> bytes:
        """For the direct lane: its fields in order."""
        return orjson.dumps(_call_values(self))

    @classmethod
    def from_head(cls, head: bytes) -> CallMessage:
        """Raises ValueError, TypeError."""
        return cls(*orjson.loads(head))

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> CallMessage:
        return cls(**{f.name: wire[f.name] for f in fields(cls) if f.name in wire})


@dataclass(slots=True)
class RunRecord:
    """A finished synchronous run, whole. Times are Unix milliseconds."""

    id: str
    request_id: str
    function_id: str
    function_name: str
    runtime: str
    version: int
    status: str
    created_ms: float
    completed_ms: float
    owner_id: int | None = None
    """The function's owner."""
    caller_id: int | None = None
    """The user who called."""
    alias: str = ""
    environment: str = ""
    trigger_type: str = "http"
    session_key: str = ""
    worker_id: str = ""
    fault: str = ""
    error: str = ""
    error_type: str = ""
    stack_trace: list[str] = field(default_factory=list)
    start_kind: str = ""
    started_ms: float | None = None
    duration_ms: float = 0.0
    queue_ms: float = 0.0
    memory_used_mb: float | None = None
    logs: list[tuple[int, str, str]] = field(default_factory=list)
    """``[at_ms, stream, text]``"""
    input: bytes = b""
    output: bytes | None = None

    def to_head(self) -> bytes:
        """All but input and output: the fields in order, and whether there is an output."""
        return orjson.dumps((*_head_values(self), self.output is not None))

    @classmethod
    def from_head(cls, head: bytes, output: bytes, *, input: bytes = b"") -> RunRecord:
        """Raises ValueError, TypeError."""
        values = orjson.loads(head)
        values[-1:] = (input, output if values[-1] else None)
        return cls(*values)

    def to_bytes(self) -> bytes:
        """``u32 head size, u32 input size, head, input, output``."""
        head = self.to_head()
        return b"".join((_HEADER.pack(len(head), len(self.input)), head, self.input, self.output or b""))

    @classmethod
    def from_bytes(cls, data: bytes) -> RunRecord:
        head_size, input_size = _HEADER.unpack_from(data)
        input_at = _HEADER.size + head_size
        output_at = input_at + input_size
        return cls.from_head(data[_HEADER.size : input_at], data[output_at:], input=data[input_at:output_at])


_CALL_FIELDS = tuple(f.name for f in fields(CallMessage))
_HEAD_FIELDS = tuple(f.name for f in fields(RunRecord) if f.name not in {"input", "output"})
_call_values = attrgetter(*_CALL_FIELDS)
_head_values = attrgetter(*_HEAD_FIELDS)


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
    # In the order of the fields: by their names it takes three times as long, on each call's path.
    return RunRecord(
        call.id,
        call.request_id,
        call.function_id,
        call.function_name,
        call.runtime,
        call.version,
        outcome.status,
        call.created_ms,
        completed_ms,
        call.owner_id,
        call.caller_id,
        call.alias,
        call.environment,
        call.trigger_type,
        call.session_key,
        worker_id,
        outcome.fault or "",
        outcome.error,
        outcome.error_type,
        list(outcome.stack_trace),
        start or "",
        started_ms,
        outcome.duration_ms,
        max(0.0, (started_ms or completed_ms) - call.created_ms),
        outcome.memory_used_mb,
        [(line.at_ms, line.stream, line.text) for line in outcome.logs] if outcome.logs else [],
        event,
        outcome.output,
    )
