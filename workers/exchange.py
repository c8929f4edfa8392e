"""Exchange: one INVOKE of a linked sandbox without a thread that waits, for the event loop of the direct lane.

    exchange = sandbox.exchange(call, event, deadline, on_log)
    outcome = exchange.begin()              # None: under way
    …whenever `fileno()` is readable:
    outcome = exchange.proceed()            # None: not whole yet
    …past the deadline, or when either raised `Broken`, on a thread that may wait:
    outcome = exchange.break_off(error)

The rules are those of `LinkedSandbox.invoke`, which does the same for a thread.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from invocations.outcome import Fault, LogLine, Outcome
from workers.frames import ConnectionEnded, Frame, FrameError, Kind
from workers.link_ends import failed, since, timed_out
from workers.link_logs import CallLogs
from workers.sandbox import Call, LogSink

if TYPE_CHECKING:
    from workers.link import LinkedSandbox

_INVOKE, _LOG, _RESULT, _FAULT = Kind.INVOKE, Kind.LOG, Kind.RESULT, Kind.FAULT
"""Python 3.11 looks members of an enum up by a function of its own."""
EARLY_SEC = 0.25
"""A runner may end a call so long before its deadline and say that its time was over."""


class Broken(Exception):
    """The conversation broke off; what it means takes a while to find out."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Exchange:
    """Not thread-safe: one thread begins and proceeds, then one ends it."""

    __slots__ = ("_call", "_deadline", "_event", "_logs", "_on_log", "_sandbox", "_started", "_stream", "is_sent")

    def __init__(
        self, sandbox: LinkedSandbox, call: Call, event: bytes, deadline: float, on_log: LogSink | None
    ) -> None:
        self._sandbox = sandbox
        self._stream = sandbox.stream
        self._call = call
        self._event = event
        self._deadline = deadline
        self._on_log = on_log
        self._logs: CallLogs | None = None
        self._started = 0.0
        self.is_sent = False
        """False: call `proceed` when the descriptor is writable, too."""

    def fileno(self) -> int:
        return self._stream.fileno()

    def begin(self) -> Outcome | None:
        """Send the event, as far as it goes. Raises Broken."""
        sandbox, call = self._sandbox, self._call
        self._started = time.monotonic()
        if not sandbox.enter(look=False):
            return sandbox.unusable()
        earlier = sandbox.take_load_logs()
        if earlier is not None:
            self._logs = CallLogs(sandbox.limits.log_bytes, self._on_log, after=earlier)
        head = invoke_head(call, self._deadline - self._started)
        try:
            self.is_sent = self._stream.post(_INVOKE, head, self._event)
        except ConnectionEnded as error:
            raise Broken(error) from None
        except ValueError as error:
            return self._leave(failed("EventTooLarge", f"The event is too large: {error}.", fault=Fault.CALLER))
        return None

    def proceed(self) -> Outcome | None:
        """Take what has come, send what is left. Raises Broken."""
        stream = self._stream
        try:
            if not self.is_sent:
                self.is_sent = stream.push()
            while (frame := stream.take()) is not None:
                if frame.head.get("id") != self._call.invocation_id:
                    raise FrameError(f"a {frame.kind.name} frame was of another call")
                if frame.kind is _LOG:
                    self._log(frame)
                    continue
                return self._ended(frame)
        except (ConnectionEnded, FrameError) as error:
            raise Broken(error) from None
        return None

    def break_off(self, error: Exception) -> Outcome:
        """The Outcome of a conversation that did not end well: a TimeoutError, or what `Broken` has. May wait for the
        runner's end. The sandbox is dead afterwards."""
        outcome = self._sandbox.end(error, round(self._deadline - self._started), loading=False)
        return self._leave(outcome)

    def _log(self, frame: Frame) -> None:
        if self._logs is None:
            self._logs = CallLogs(self._sandbox.limits.log_bytes, self._on_log)
        self._logs.take(frame)

    def _ended(self, frame: Frame) -> Outcome:
        if frame.kind is not _RESULT and frame.kind is not _FAULT:
            raise FrameError(f"a {frame.kind.name} frame came out of turn")
        if not self.is_sent:
            # The rest would lie in the next call's way.
            raise FrameError(f"a {frame.kind.name} frame came before the event was read")
        outcome = self._sandbox.finished(frame, since(self._started), self._lines())
        if outcome.ok:
            self._sandbox.leave()
            return outcome
        if ran_out_of_time(frame, self._deadline):
            outcome = timed_out(round(self._deadline - self._started), loading=False)
        return self._leave(outcome)

    def _leave(self, outcome: Outcome) -> Outcome:
        self._sandbox.leave()
        return replace(outcome, duration_ms=since(self._started), logs=self._lines())

    def _lines(self) -> tuple[LogLine, ...]:
        return tuple(self._logs.lines) if self._logs is not None else ()


def invoke_head(call: Call, remaining_sec: float) -> dict[str, object]:
    return {
        "id": call.invocation_id,
        "request_id": call.request_id,
        "remaining_ms": max(0, int(remaining_sec * 1000)),
        "attempt": call.attempt,
        "alias": call.alias,
        "trigger_type": call.trigger_type,
    }


def ran_out_of_time(frame: Frame, deadline: float) -> bool:
    """Whether the runner has ended the call because its time was over, and it was."""
    ended = frame.kind is _FAULT and frame.head.get("timed_out") is True
    return ended and deadline - time.monotonic() < EARLY_SEC
