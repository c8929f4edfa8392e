"""Waiter: a caller's place in the queue. Lease: the right to use one sandbox, given back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from functions.spec import FunctionSpec
from invocations.outcome import ErrorType, Fault, Outcome, StartKind, Status
from workers.pool.slots import Slot
from workers.sandbox import Call, Exchange, LogSink, Sandbox, SandboxError

if TYPE_CHECKING:
    from workers.pool.pool import Pool


class Lease:
    """One sandbox for one caller until `release` (or the end of the `with`)."""

    __slots__ = ("_pool", "init_ms", "is_open", "sandbox", "slot", "spec", "start", "waited_ms")

    def __init__(self, pool: Pool, slot: Slot, sandbox: Sandbox, spec: FunctionSpec, start: StartKind) -> None:
        self._pool = pool
        self.slot = slot
        self.sandbox = sandbox
        self.spec = spec
        self.start = start
        self.waited_ms = 0.0
        """From asking for the lease until it came, boot included."""
        self.init_ms = 0.0
        """What loading the code took; 0 for a warm start."""
        self.is_open = True
        """Cleared by the pool, under its lock: of two threads that release, one does."""

    def load(self, deadline: float | None = None, on_log: LogSink | None = None) -> Outcome | None:
        """Load the code if that is still to be done. None, or how the user's code failed to load.

        Bounded by the function's own timeout and the pool's, and by `deadline`. Raises SandboxError.
        """
        self._check()
        if self.slot.loaded:
            return None
        pool = self._pool
        began = pool.clock()
        latest = began + min(float(self.spec.timeout_sec), pool.limits.load_timeout_sec)
        # Spent until proven otherwise: whatever is raised from here, half a load is never handed on.
        self.slot.spent = True
        outcome = self.sandbox.load(self.spec, latest if deadline is None else min(latest, deadline), on_log)
        self.init_ms = (pool.clock() - began) * 1000
        if outcome is None:
            self.slot.spent = False
            pool.note_loaded(self)
        return outcome

    def run(self, call: Call, event: bytes, deadline: float, on_log: LogSink | None = None) -> Outcome:
        """Load if needed, then run the handler once. A failed load is the run's outcome. Raises SandboxError.

        `Pool.cancel` with the call's id ends it: the Outcome is then *cancelled*, unless the answer was already there.
        """
        self._check()
        slot = self.slot
        running = self._pool.running
        running[call.invocation_id] = slot
        try:
            outcome = None if slot.loaded else self.load(deadline, on_log)
            if outcome is None:
                slot.spent = True
                outcome = self.sandbox.invoke(call, event, deadline, on_log)
                slot.spent = False
        except SandboxError as error:
            # A sandbox destroyed under a load may answer with an engine's error; the cause is known better here.
            if not slot.cancelled:
                raise
            outcome = Outcome(status=Status.FAILED, error=str(error))
        finally:
            if running.get(call.invocation_id) is slot:
                del running[call.invocation_id]
        return _cancelled(outcome) if slot.cancelled and not outcome.ok else outcome

    def exchange(self, call: Call, event: bytes, deadline: float, on_log: LogSink | None = None) -> Exchange:
        """As `run` in a loaded sandbox, for an event loop; `exchanged` ends it."""
        self._check()
        slot = self.slot
        self._pool.running[call.invocation_id] = slot
        slot.spent = True
        return self.sandbox.exchange(call, event, deadline, on_log)

    def exchanged(self, call: Call, outcome: Outcome) -> Outcome:
        """What the exchange came to, as `run` returns it."""
        slot = self.slot
        slot.spent = False
        running = self._pool.running
        if running.get(call.invocation_id) is slot:
            del running[call.invocation_id]
        return _cancelled(outcome) if slot.cancelled and not outcome.ok else outcome

    def release(self) -> None:
        """Give the sandbox back. Idempotent, from any thread."""
        self._pool.give_back(self)

    def _check(self) -> None:
        if not self.is_open or self.slot.spent:
            raise SandboxError("this lease is over: released, or its sandbox failed before")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.give_back(self)


def _cancelled(outcome: Outcome) -> Outcome:
    return replace(
        outcome,
        status=Status.CANCELLED,
        fault=Fault.CALLER,
        error="cancelled while it ran",
        error_type=ErrorType.CANCELLED,
        output=None,
    )


class Waiter:
    """Made by `Pool.ask`. Settled once, with a lease or an error; `on_settled` is then called, without any lock,
    on whichever thread brought it about: set an Event, or `loop.call_soon_threadsafe`.
    """

    __slots__ = ("_on_settled", "deadline", "error", "lease", "seq", "since", "spec", "withdrawn")

    def __init__(
        self, seq: int, spec: FunctionSpec, since: float, deadline: float, on_settled: Callable[[Waiter], object]
    ) -> None:
        self.seq = seq
        """Order of arrival over all versions."""
        self.spec = spec
        self.since = since
        self.deadline = deadline
        self.lease: Lease | None = None
        self.error: SandboxError | None = None
        self.withdrawn = False
        self._on_settled = on_settled

    @property
    def is_settled(self) -> bool:
        return self.lease is not None or self.error is not None

    def result(self) -> Lease:
        """The lease, once settled. Raises SandboxError."""
        if self.lease is not None:
            return self.lease
        raise self.error or SandboxError("not settled yet")

    def grant(self, lease: Lease) -> None:
        """For the pool: settle with a lease."""
        self.lease = lease
        # `Pool.withdraw` sets its mark, then looks for a lease; this sets the lease, then looks for the mark.
        # So one of the two gives it back, or both, which is harmless; never neither.
        if self.withdrawn:
            lease.release()
        else:
            self._on_settled(self)

    def refuse(self, error: SandboxError) -> None:
        """For the pool: settle with an error."""
        self.error = error
        if not self.withdrawn:
            self._on_settled(self)
