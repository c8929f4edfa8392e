"""LinkedSandbox: the half of a sandbox that is the same for every driver, over one connected socket.

It keeps the conversation of `runtimes/PROTOCOL.md`, believes nothing, and turns every way a run can end into an
`Outcome`. A driver's subclass knows how to kill, what the death was, and how to clean up.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from functions.spec import ArtifactKind, FunctionSpec
from invocations.outcome import ErrorType, Fault, LogLine, Outcome, Status
from workers.exchange import Exchange, invoke_head, ran_out_of_time
from workers.frames import ConnectionEnded, Frame, FrameError, FrameStream, Kind
from workers.link_ends import Death, dead_outcome, failed, number, since, timed_out
from workers.link_logs import CallLogs, clean
from workers.sandbox import Call, LogSink, SandboxError, Stage

_ERROR_BYTES = 66 * 1024
_TYPE_CHARS = 127
"""And a sign that it was cut: as many as the history has room for."""
_FRAMES = 100
_FRAME_CHARS = 4096
_FAULT, _SUCCESS = Kind.FAULT, Status.SUCCESS
"""Python 3.11 looks members of an enum up by a function of its own."""
_BROKEN_LINK = (TimeoutError, ConnectionEnded, FrameError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one call, in bytes."""

    result_bytes: int
    log_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where a sandbox finds the files of its version, when that is more than one source."""

    stage: Stage
    folder: Path
    """On this machine."""
    inside: str
    """The same folder as the runner sees it."""


class LinkedSandbox(ABC):
    """A `workers.sandbox.Sandbox` over a stream whose HELLO has been read. Owns the stream."""

    def __init__(
        self,
        stream: FrameStream,
        *,
        id: str,
        runtime: str,
        memory_mb: int,
        network: str,
        limits: Limits,
        shelf: Shelf | None = None,
    ) -> None:
        self._shelf = shelf
        self.id = id
        self.runtime = runtime
        self.memory_mb = memory_mb
        self.network = network
        self.limits = limits
        self.stream = stream
        self._state = threading.Lock()
        self._ending = threading.Lock()
        self._busy = False
        self._dead = False
        self._destroyed = False
        self._cleaned = False
        self._load_logs: CallLogs | None = None

    # -- what a driver adds

    @abstractmethod
    def _kill(self) -> None:
        """Start ending the runner and everything it started; return within milliseconds. Idempotent, any thread."""

    @abstractmethod
    def _post_mortem(self) -> Death:
        """How the runner ended, asked when its connection has. Waits for the end a second at most."""

    @abstractmethod
    def _fit(self, memory_mb: int) -> None:
        """Change the memory limit of a sandbox booted with another. Raises SandboxError."""

    @abstractmethod
    def _cleanup(self) -> None:
        """After `_kill`: wait until nothing of it runs, remove what it leaves. Called once; must not raise."""

    # -- the Sandbox interface

    @property
    def alive(self) -> bool:
        """See `Sandbox.alive`. Costs one system call while idle."""
        # Under the lock: the pool asks while a caller begins. Two polls of one stream at once are an error to Python,
        # and an answer that came between the looks at `_busy` and the stream would pass for one nobody asked for.
        with self._state:
            if not self._dead and not self._busy and not self.stream.idle():
                self._dead = True  # it hung up, or spoke without being asked
            return not self._dead

    @property
    def dead(self) -> bool:
        """See `Sandbox.dead`."""
        return self._dead

    @property
    def busy(self) -> bool:
        """A load or an invoke is under way."""
        return self._busy

    def load(self, spec: FunctionSpec, deadline: float, on_log: LogSink | None = None) -> Outcome | None:
        """See `Sandbox.load`. What the load printed is in the first run's `Outcome.logs` as well."""
        if spec.memory_mb != self.memory_mb:
            self._fit(spec.memory_mb)
            self.memory_mb = spec.memory_mb
        kind = self._staged(spec)
        if not self.enter():
            raise SandboxError("The sandbox died before it was used.")
        logs = CallLogs(self.limits.log_bytes, on_log)
        started = time.monotonic()
        outcome: Outcome | None
        try:
            self.stream.send(Kind.LOAD, self._load_head(spec, kind), spec.artifact, deadline)
            outcome = self._loaded(self._answer(Kind.LOADED, None, deadline, logs))
        except _BROKEN_LINK as error:
            outcome = self.end(error, round(deadline - started), loading=True)
        except ValueError as error:
            raise SandboxError(f"The code can't be sent to a sandbox: {error}.") from None
        finally:
            self.leave()
        if outcome is None:
            self._load_logs = logs
            return None
        self._dead = True
        return replace(outcome, duration_ms=since(started), logs=tuple(logs.lines))

    def invoke(self, call: Call, event: bytes, deadline: float, on_log: LogSink | None = None) -> Outcome:
        """See `Sandbox.invoke`."""
        if not self.enter():
            return self.unusable()
        logs, self._load_logs = CallLogs(self.limits.log_bytes, on_log, after=self._load_logs), None
        started = time.monotonic()
        try:
            self.stream.send(Kind.INVOKE, invoke_head(call, deadline - started), event, deadline)
            frame = self._answer(Kind.RESULT, call.invocation_id, deadline, logs)
            outcome = self.finished(frame)
            if ran_out_of_time(frame, deadline):
                outcome = timed_out(round(deadline - started), loading=False)
        except _BROKEN_LINK as error:
            outcome = self.end(error, round(deadline - started), loading=False)
        except ValueError as error:
            outcome = failed("EventTooLarge", f"The event is too large: {error}.", fault=Fault.CALLER)
        finally:
            self.leave()
        return replace(outcome, duration_ms=since(started), logs=tuple(logs.lines))

    def exchange(self, call: Call, event: bytes, deadline: float, on_log: LogSink | None = None) -> Exchange:
        """See `Sandbox.exchange`."""
        return Exchange(self, call, event, deadline, on_log)

    def destroy(self) -> None:
        """See `Sandbox.destroy`."""
        with self._state:
            self._destroyed = self._dead = True
        self.stream.shutdown()
        self._kill()
        with self._ending:
            if self._cleaned:
                return
            self._cleanup()
            self._cleaned = True
        with self._state:
            if not self._busy:
                self.stream.close()

    # -- the conversation; its steps are also those of an Exchange

    def enter(self, *, look: bool = True) -> bool:
        """Take the stream for one exchange; False when the sandbox is dead. Without a look for who has asked `alive`
        just now."""
        with self._state:
            if self._dead or (look and not self.stream.idle()):
                self._dead = True
                return False
            self._busy = True
            return True

    def leave(self) -> None:
        with self._state:
            self._busy = False
            if self._cleaned:
                self.stream.close()

    def take_load_logs(self) -> CallLogs | None:
        """What the load printed, for the first call."""
        logs, self._load_logs = self._load_logs, None
        return logs

    def _answer(self, expected: Kind, call_id: str | None, deadline: float, logs: CallLogs) -> Frame:
        """Read LOG frames until the answer: the expected kind or a FAULT, of this very call."""
        while True:
            frame = self.stream.receive(deadline)
            if frame.head.get("id") != call_id:
                raise FrameError(f"a {frame.kind.name} frame was of another call")
            if frame.kind is expected or frame.kind is Kind.FAULT:
                return frame
            if frame.kind is not Kind.LOG:
                raise FrameError(f"a {frame.kind.name} frame came out of turn")
            logs.take(frame)

    def _staged(self, spec: FunctionSpec) -> ArtifactKind:
        """Put the files there, if there are any; how the runner finds the code then. Raises SandboxError."""
        if spec.folder is None and not spec.layers:
            return spec.artifact_kind
        if self._shelf is None:
            raise SandboxError("This driver can't give a sandbox more than one source file.")
        self._shelf.stage(spec, self._shelf.folder)
        # A lone source with layers lies among them, so that the language's own rules find both.
        return ArtifactKind.TREE if spec.artifact_kind is ArtifactKind.SOURCE else spec.artifact_kind

    def _load_head(self, spec: FunctionSpec, kind: ArtifactKind) -> dict[str, object]:
        return {
            "handler": spec.handler,
            "artifact_kind": kind,
            "files": self._shelf.inside if self._shelf is not None else "",
            "env": dict(spec.env_vars),
            "function_name": spec.function_name,
            "function_version": spec.version,
            "function_id": spec.function_id,
            "memory_mb": spec.memory_mb,
            "timeout_sec": spec.timeout_sec,
            "max_result_bytes": self.limits.result_bytes,
            "max_log_bytes": self.limits.log_bytes,
        }

    def _loaded(self, frame: Frame) -> Outcome | None:
        return None if frame.kind is Kind.LOADED else self._fault(frame)

    def finished(self, frame: Frame, duration_ms: float = 0.0, logs: tuple[LogLine, ...] = ()) -> Outcome:
        """What a RESULT or FAULT frame says. Made whole at once for a success: `replace` costs more than all else."""
        if frame.kind is _FAULT:
            return self._fault(frame)
        memory = number(frame.head.get("memory_mb"))
        if len(frame.body) > self.limits.result_bytes:
            text = f"The result has {len(frame.body)} bytes; at most {self.limits.result_bytes} are allowed."
            return failed(ErrorType.RESULT_TOO_LARGE, text, memory=memory)
        try:
            orjson.loads(frame.body)
        except orjson.JSONDecodeError as error:
            return failed(ErrorType.RESULT_NOT_JSON, f"The result is not valid JSON: {error}.", memory=memory)
        return Outcome(status=_SUCCESS, output=frame.body, memory_used_mb=memory, duration_ms=duration_ms, logs=logs)

    def _fault(self, frame: Frame) -> Outcome:
        """What a FAULT frame says, bounded; a fatal one ends the sandbox."""
        if frame.head.get("fatal") is True:
            self._dead = True
            self._kill()
        trace = frame.head.get("stack_trace")
        return Outcome(
            status=Status.FAILED,
            fault=Fault.FUNCTION,
            error=clean(frame.head.get("error"), _ERROR_BYTES),
            error_type=clean(frame.head.get("error_type"), _TYPE_CHARS) or "Error",
            stack_trace=tuple(clean(line, _FRAME_CHARS) for line in trace[:_FRAMES]) if isinstance(trace, list) else (),
            memory_used_mb=number(frame.head.get("memory_mb")),
        )

    # -- bad ends

    def end(self, error: Exception, allowed_sec: int, *, loading: bool) -> Outcome:
        """The Outcome of a conversation that broke off. The sandbox is dead afterwards."""
        self._dead = True
        if self._destroyed:
            text = "The run was cancelled."
            return Outcome(status=Status.CANCELLED, fault=Fault.CALLER, error=text, error_type=ErrorType.CANCELLED)
        if isinstance(error, TimeoutError):
            self._kill()
            return timed_out(allowed_sec, loading=loading)
        if isinstance(error, FrameError):
            self._kill()
            text = f"The function disturbed the runtime's connection to the platform: {error}."
            return failed(ErrorType.PROTOCOL_VIOLATION, text)
        death = self._post_mortem()
        self._kill()
        return dead_outcome(death, self.memory_mb, "was loaded" if loading else "returned")

    def unusable(self) -> Outcome:
        if self._destroyed:
            return self.end(ConnectionEnded(), 0, loading=False)
        text = "The sandbox died before the run began. Try again."
        return failed(ErrorType.SANDBOX_UNAVAILABLE, text, fault=Fault.PLATFORM)
