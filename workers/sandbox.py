"""The sandbox seam: what a driver makes and a pool hands out.

Trouble in the user's code is a value (`Outcome`); trouble in the engine is an exception (`SandboxError`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from functions.runtimes import Runtime
from functions.spec import FunctionSpec
from invocations.outcome import LogLine, Outcome

Stage = Callable[[FunctionSpec, Path], None]
"""Puts a version's files into a folder: its own below ``task/``, its layers' below ``python/`` or ``node_modules/``.
Raises SandboxError."""

LogSink = Callable[[LogLine], None]
"""Called on the invoking thread for every line, as it arrives."""


class Exchange(Protocol):
    """One run under way in a sandbox; see `workers.exchange`. Raises `workers.exchange.Broken`."""

    is_sent: bool

    def fileno(self) -> int: ...

    def begin(self) -> Outcome | None: ...

    def proceed(self) -> Outcome | None: ...

    def break_off(self, error: Exception) -> Outcome: ...


class SandboxError(Exception):
    """The engine could not do what it should: no image, no memory, no answer. The platform's fault."""


# A value, treated as frozen: as Frame.
@dataclass(slots=True)
class Call:
    """What the handler's ``context`` shows of one attempt. The rest it knows from the spec."""

    invocation_id: str
    request_id: str
    attempt: int = 1
    alias: str = ""
    trigger_type: str = "http"


class Sandbox(Protocol):
    """One container (or process). Serves one function version, one call at a time, and is never handed to another.

    Not thread-safe but for `destroy`, which any thread may call at any time, twice too: a running `invoke`
    then returns an Outcome.
    """

    id: str
    runtime: str
    memory_mb: int
    network: str

    @property
    def alive(self) -> bool:
        """False once the runner is gone or must not be used again."""

    @property
    def dead(self) -> bool:
        """It is known not to be alive: `alive` without a look."""

    def load(self, spec: FunctionSpec, deadline: float, on_log: LogSink | None = None) -> Outcome | None:
        """Make the booted sandbox this version's. None when loaded, an Outcome when the user's code failed to.

        `deadline` is a point of `time.monotonic()`. After an Outcome the sandbox is spent: destroy it.
        Fits the sandbox's memory limit to `spec.memory_mb` if it was booted with another.
        Raises SandboxError.
        """

    def invoke(self, call: Call, event: bytes, deadline: float, on_log: LogSink | None = None) -> Outcome:
        """Run the handler once. `event` is JSON text, passed through as it came.

        Past `deadline` the runner is killed and the Outcome is a timeout, returned at once (the clean-up
        goes on in the background). Never raises for what user code did.
        """

    def exchange(self, call: Call, event: bytes, deadline: float, on_log: LogSink | None = None) -> Exchange:
        """As `invoke`, for an event loop: nothing of it waits."""

    def destroy(self) -> None:
        """End it, whatever it does. Idempotent; returns when the runner cannot run any more code."""


class SandboxDriver(Protocol):
    """What makes sandboxes. Thread-safe."""

    name: str

    def create(self, runtime: Runtime, *, memory_mb: int, network: str = "none", deadline: float) -> Sandbox:
        """Boot one and wait for its runner's HELLO. Raises SandboxError."""

    def available(self, runtime: Runtime) -> str | None:
        """None when `create` can work for this runtime, else a sentence that says what to install or build."""

    def sweep(self) -> int:
        """Remove sandboxes on this node whose worker is dead. The count. Needs no database."""

    def close(self) -> None:
        """Remove everything this driver made that is still there."""
