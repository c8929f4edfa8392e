"""Run: one call of the direct lane, from its frame to its record. Which step comes next is `direct.py`'s to know."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from functions.configuration import SecretUnreadable
from functions.spec import FunctionSpec
from invocations.outcome import Outcome
from invocations.record import CallMessage, record_of
from workers.sandbox import Call, Exchange, SandboxError
from workers.tally import Tally
from workers.unrun import as_told, deleted, unavailable

if TYPE_CHECKING:
    from workers.direct_socket import Connection
    from workers.direct_watch import Watch
    from workers.pool import Lease
    from workers.worker import Worker


class Run:
    """One call. Methods that say so may wait; they run on a thread."""

    __slots__ = (
        "_run_log",
        "_seen",
        "_started_ms",
        "_worker",
        "call",
        "connection",
        "deadline",
        "event",
        "exchange",
        "fd",
        "is_watched",
        "is_writing",
        "lease",
        "number",
        "spec",
        "start_before",
    )

    spec: FunctionSpec
    """Once it is known."""
    exchange: Exchange
    """Once it has a sandbox with its code."""
    _seen: Call

    def __init__(self, worker: Worker, connection: Connection, number: int, call: CallMessage, event: bytes) -> None:
        self._worker = worker
        self._started_ms = time.time() * 1000
        self._run_log = worker.shipper.open(call.id, call.function_id)
        self.connection = connection
        self.number = number
        self.call = call
        self.event = event
        self.lease: Lease | None = None
        self.deadline = 0.0
        """Of the handler's run, by `time.monotonic()`."""
        self.start_before = time.monotonic() + (call.start_before_ms - self._started_ms) / 1000
        self.fd = -1
        """Of its sandbox, while it runs there."""
        self.is_watched = False
        self.is_writing = False

    @property
    def needed_lease(self) -> Lease:
        assert self.lease is not None
        return self.lease

    def read_spec(self) -> Outcome | None:
        """Waits. None when it is there."""
        call = self.call
        try:
            spec = self._worker.specs.get(call.function_id, call.version, call.environment, generation=call.generation)
        except SecretUnreadable as error:
            return unavailable(str(error))
        if spec is None:
            return deleted(call.function_name, call.version, call.environment)
        self.spec = spec
        return None

    def load(self) -> Outcome | None:
        """Waits. None when the code is there."""
        try:
            return self.needed_lease.load(on_log=self._run_log)
        except SandboxError as error:
            return unavailable(str(error))

    def begin(self, watch: Watch) -> Outcome | None:
        """Send the event; None: under way. The function's own time begins when its code is there. Raises SandboxError,
        Broken."""
        lease, call = self.needed_lease, self.call
        self._seen = Call(call.id, call.request_id, 1, call.alias, call.trigger_type)
        self.deadline = time.monotonic() + self.spec.timeout_sec
        self.exchange = exchange = lease.exchange(self._seen, self.event, self.deadline, self._run_log)
        watch.add(exchange.fileno(), lease.sandbox, self)
        return exchange.begin()

    def break_off(self, error: Exception) -> Outcome:
        """Waits."""
        return self.exchange.break_off(error)

    def exchanged(self, outcome: Outcome) -> Outcome:
        return self.needed_lease.exchanged(self._seen, outcome)

    def release(self) -> None:
        """Give the sandbox back."""
        if self.lease is not None:
            self.lease.release()

    def finish(self, outcome: Outcome) -> tuple[bytes, bytes]:
        """The record's head for the answer, its lines for the journal. What else is to be told, the shipper does."""
        call, worker = self.call, self._worker
        record = record_of(
            call,
            outcome,
            event=self.event,
            completed_ms=time.time() * 1000,
            start=self.lease.start if self.lease is not None else None,
            started_ms=self._started_ms,
            worker_id=worker.id,
        )
        if call.slot or self._run_log.lines:
            worker.shipper.end_later(self._run_log, outcome.status, call.function_id if call.slot else "")
        return record.to_head(), worker.lines_of(call, record)

    def count(self, tally: Tally, outcome: Outcome) -> None:
        start = self.lease.start if self.lease is not None else None
        tally.add(self.call.function_name, self.call.runtime, start, outcome)

    def as_told(self) -> dict[str, Any]:
        """For the heartbeat."""
        return as_told(self.call, self._started_ms)
