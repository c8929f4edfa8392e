"""Calls without a sandbox: how one under way is told, and the Outcomes of those that none has run."""

from __future__ import annotations

from typing import Any

from invocations.outcome import ErrorType, Fault, Outcome, Status
from invocations.record import CallMessage


def as_told(call: CallMessage, started_ms: float) -> dict[str, Any]:
    """As the heartbeat tells it."""
    return {
        "id": call.id,
        "request_id": call.request_id,
        "function_id": call.function_id,
        "function_name": call.function_name,
        "version": call.version,
        "trigger_type": call.trigger_type,
        "started_ms": started_ms,
    }


def unavailable(error: str) -> Outcome:
    return Outcome(status=Status.FAILED, fault=Fault.PLATFORM, error=error, error_type=ErrorType.SANDBOX_UNAVAILABLE)


def deleted(name: str, version: int, environment: str) -> Outcome:
    what = f"The function {name} (version {version})" + (f" or its environment {environment}" if environment else "")
    return Outcome(
        status=Status.FAILED,
        fault=Fault.CALLER,
        error=f"{what} was deleted before this could run.",
        error_type="FunctionDeleted",
    )
