"""How a run can end, as `Outcome`s: the sentences for whoever reads them."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

from invocations.outcome import ErrorType, Fault, Outcome, Status
from workers.frames import EXIT_DISCONNECTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a runner ended. All empty: it is still there, or nobody knows."""

    out_of_memory: bool = False
    exit_code: int | None = None
    signal: int | None = None


def timed_out(allowed_sec: int, *, loading: bool) -> Outcome:
    what, advice = ("The function did not return", "Raise timeout_sec or do less in one call.")
    if loading:
        what, advice = ("The function's code did not finish loading", "Do less at import, outside of the handler.")
    text = f"{what} within {allowed_sec} s and was stopped. {advice}"
    return Outcome(status=Status.TIMEOUT, fault=Fault.FUNCTION, error=text, error_type=ErrorType.TIMEOUT)


def dead_outcome(death: Death, memory_mb: int, before: str) -> Outcome:
    """`before`: what the process should have lived to see."""
    if death.out_of_memory:
        text = f"The function used more than its {memory_mb} MB of memory and was stopped. Raise memory_mb or use less."
        return failed(ErrorType.OUT_OF_MEMORY, text, memory=float(memory_mb))
    if death.signal is not None:
        text = f"The process was ended by {_signal_name(death.signal)} before the function {before}."
        return failed(ErrorType.PROCESS_CRASHED, text)
    if death.exit_code not in (None, EXIT_DISCONNECTED):
        text = (
            f"The process exited with code {death.exit_code} before the function {before}. "
            "A handler returns its result and leaves the process running."
        )
        return failed(ErrorType.PROCESS_EXITED, text)
    text = f"The function closed the runtime's connection to the platform before it {before}."
    return failed(ErrorType.PROTOCOL_VIOLATION, text)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def failed(error_type: str, error: str, *, fault: Fault = Fault.FUNCTION, memory: float | None = None) -> Outcome:
    return Outcome(status=Status.FAILED, fault=fault, error=error, error_type=str(error_type), memory_used_mb=memory)


def number(value: object) -> float | None:
    # Of JSON: no other classes come, and a bool is none of them.
    if (type(value) is float or type(value) is int) and 0 <= value < 1e9:
        return round(value * 100) / 100
    return None


def since(started: float) -> float:
    """Milliseconds since a point of `time.monotonic()`, to the microsecond."""
    return round((time.monotonic() - started) * 1e6) / 1000
