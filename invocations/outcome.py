"""Outcome: what one attempt came to, and whose fault it was. Plain Python, no Django."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """States of an invocation. See `invocations.lifecycle` for the legal moves."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


_SUCCESS = Status.SUCCESS
"""Python 3.11 looks members of an enum up by a function of its own."""
TERMINAL = frozenset({Status.SUCCESS, Status.FAILED, Status.TIMEOUT, Status.CANCELLED})


class Fault(StrEnum):
    """Whose fault a bad end was. Every later decision (retry, bill, alert) is a match on this."""

    CALLER = "caller"
    FUNCTION = "function"
    PLATFORM = "platform"


class ErrorType(StrEnum):
    """Bad ends that Nimbus names itself; an exception of the user's own keeps its class name."""

    TIMEOUT = "Timeout"
    OUT_OF_MEMORY = "OutOfMemory"
    PROCESS_EXITED = "ProcessExited"
    PROCESS_CRASHED = "ProcessCrashed"
    HANDLER_NOT_FOUND = "HandlerNotFound"
    HANDLER_SIGNATURE = "HandlerSignature"
    MODULE_NOT_FOUND = "ModuleNotFound"
    RESULT_NOT_JSON = "ResultNotJson"
    RESULT_TOO_LARGE = "ResultTooLarge"
    PROTOCOL_VIOLATION = "ProtocolViolation"
    CANCELLED = "Cancelled"
    WORKER_LOST = "WorkerLost"
    WORKER_STOPPED = "WorkerStopped"
    EVENT_TOO_OLD = "EventTooOld"
    FUNCTION_DELETED = "FunctionDeleted"
    SANDBOX_UNAVAILABLE = "SandboxUnavailable"


class StartKind(StrEnum):
    """How the sandbox of a run came to be there."""

    COLD = "cold"
    PREWARMED = "prewarmed"
    WARM = "warm"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line the user's code wrote."""

    at_ms: int
    """Unix time, milliseconds."""
    stream: str
    """``stdout``, ``stderr`` or ``system`` (a note of the platform, such as a truncation)."""
    text: str
    """Without its newline."""


# A value, treated as frozen; a dataclass that is frozen indeed takes three times as long to make, on each call's path.
@dataclass(slots=True, kw_only=True)
class Outcome:
    """How one attempt ended. `Sandbox.invoke` always returns one and never raises for what user code did."""

    status: Status
    output: bytes | None = None
    """The result as JSON text, exactly as the runner encoded it; None unless `status` is success."""
    fault: Fault | None = None
    error: str = ""
    error_type: str = ""
    stack_trace: tuple[str, ...] = ()
    """The user's frames only, outermost first."""
    duration_ms: float = 0.0
    """From the event handed to the runner until its answer."""
    memory_used_mb: float | None = None
    """Peak resident memory of the runner during this run."""
    logs: tuple[LogLine, ...] = field(default=(), repr=False)
    """What was printed during the load (if this run caused it) and the run, bounded."""

    @property
    def ok(self) -> bool:
        return self.status is _SUCCESS
