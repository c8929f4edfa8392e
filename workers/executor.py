"""claim -> lease -> invoke -> finish: what a worker does with one message."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.utils import timezone
from redis.exceptions import RedisError

from functions import directory
from functions.configuration import SecretUnreadable
from functions.errors import FunctionNotFound, VersionNotFound
from functions.spec import FunctionSpec
from invocations import ledger, lifecycle, results, selectors, services, slots
from invocations.models import Invocation
from invocations.outcome import ErrorType, Fault, Outcome, StartKind, Status
from invocations.record import CallMessage, RunRecord, record_of
from nimbus_project.core import metrics
from nimbus_project.core.logging import request_id_var
from workers.logship import RunLog
from workers.sandbox import Call, SandboxError
from workers.worker import Worker

log = logging.getLogger("nimbus.executor")

DELIVERY_TRIES = 20
DELIVERY_WAIT_SEC = 0.25


def run_call(worker: Worker, wire: dict[str, Any], event_text: str) -> None:
    """A synchronous call, from its message to the answer on its way."""
    call = CallMessage.from_wire(wire)
    request_id_var.set(call.request_id)
    event = event_text.encode()
    run_log = worker.shipper.open(call.id, call.function_id)
    started_ms = time.time() * 1000
    worker.calls[call.id] = _as_told(call, started_ms)
    try:
        start, outcome = _serve_call(worker, call, event, started_ms, run_log)
    except Exception:
        # Whatever it was, somebody waits for an answer and would wait until their deadline.
        log.exception("a call could not be run")
        start, outcome = None, _unavailable("The worker could not run this call. Its log says why. Try again.")
    finally:
        worker.calls.pop(call.id, None)
    record = record_of(
        call,
        outcome,
        event=event,
        completed_ms=time.time() * 1000,
        start=start,
        started_ms=started_ms,
        worker_id=worker.id,
    )
    _deliver(worker, call, record, run_log)
    _count(call.function_name, call.runtime, start, outcome)


def _serve_call(
    worker: Worker, call: CallMessage, event: bytes, started_ms: float, run_log: RunLog
) -> tuple[StartKind | None, Outcome]:
    wait_sec = (call.start_before_ms - started_ms) / 1000
    if wait_sec <= 0 or worker.draining.is_set():
        return None, _unavailable("No worker took this call in time. Try again or call it asynchronously.")
    spec = _spec(worker, call.function_id, call.version, call.environment, call.generation)
    if spec is None:
        return None, _deleted(call.function_name, call.version, call.environment)
    if isinstance(spec, Outcome):
        return None, spec
    context = Call(invocation_id=call.id, request_id=call.request_id, alias=call.alias, trigger_type=call.trigger_type)
    return run(worker, spec, context, event, wait_sec, run_log)


def _spec(
    worker: Worker, function_id: str, version: int, environment: str, generation: int = 0
) -> FunctionSpec | Outcome | None:
    try:
        return worker.specs.get(function_id, version, environment, generation=generation)
    except SecretUnreadable as error:
        log.error("a secret can't be read", extra={"function_id": function_id, "reason": str(error)})
        return _unavailable(str(error))


def run(
    worker: Worker, spec: FunctionSpec, context: Call, event: bytes, wait_sec: float, run_log: RunLog
) -> tuple[StartKind | None, Outcome]:
    """Lease a sandbox, load it if need be, run the handler once. Never raises for what user code did; what the engine
    could not do is an Outcome with the platform's fault."""
    try:
        with worker.pool.lease(spec, time.monotonic() + wait_sec) as lease:
            # The function's own time begins when its code is there.
            outcome = lease.load(on_log=run_log)
            if outcome is None:
                outcome = lease.run(context, event, time.monotonic() + spec.timeout_sec, run_log)
            return lease.start, outcome
    except SandboxError as error:
        log.warning("no sandbox", extra={"function": spec.function_name, "reason": str(error)})
        return None, _unavailable(str(error))


def _deliver(worker: Worker, call: CallMessage, record: RunRecord, run_log: RunLog) -> None:
    """Record and answer in one round trip, the record first. A Redis that is away is waited for a few seconds; what
    can't be left there goes to the database at once."""
    data = record.to_bytes()
    for _ in range(DELIVERY_TRIES):
        try:
            pipeline = worker.client.pipeline(transaction=False)
            ledger.append(pipeline, data)
            results.append(pipeline, call.reply_to, data)
            if call.slot:
                pipeline.zrem(slots.key(call.function_id), call.id)
            worker.shipper.end(pipeline, run_log, record.status, always=False)
            pipeline.execute()
            return
        except RedisError:
            log.warning("answer can't be delivered yet: Redis is away")
            time.sleep(DELIVERY_WAIT_SEC)
    ledger.write([record])


def run_invocations(worker: Worker, invocation_id: str) -> None:
    """A queued invocation, then whatever else is due, as long as this worker has room for queued work.

    A message is a wake-up, not a ticket: when all room is taken it is dropped, for those that have it look for the
    next row when theirs has ended. The last look comes after the room was given back, so that a row whose message was
    dropped in between is seen.
    """
    blocked: set[str] = set()
    first: str | None = invocation_id
    while not worker.draining.is_set() and worker.async_slots.acquire(blocking=False):
        try:
            while not worker.draining.is_set() and _run_next(worker, first, blocked):
                first = None
            first = None
        finally:
            worker.async_slots.release()
        if not selectors.next_due(timezone.now(), not_of=blocked, among=1):
            return


def _run_next(worker: Worker, invocation_id: str | None, blocked: set[str]) -> bool:
    """One row, if there is one to run. False when there is none."""
    now = timezone.now()
    chosen: UUID | str | None = invocation_id
    if chosen is None:
        ids = selectors.next_due(now, not_of=blocked)
        # Threads and workers look at the same head of the queue: chance keeps them from all claiming its first row.
        chosen = random.choice(ids) if ids else None
    if chosen is None:
        return False
    row = Invocation.objects.filter(pk=chosen, status=Status.PENDING, next_attempt_at__lte=now).first()
    if row is not None:
        _attempt(worker, row, blocked)
    return True


def _attempt(worker: Worker, row: Invocation, blocked: set[str]) -> None:
    release = _slot(row, blocked)
    if release is None:
        return
    try:
        if lifecycle.claim(row, worker.id, timezone.now(), worker.settings.lease_sec):
            request_id_var.set(row.request_id)
            worker.invocations[str(row.pk)] = row
            try:
                _run_row(worker, row)
            finally:
                worker.invocations.pop(str(row.pk), None)
    finally:
        release()


def _slot(row: Invocation, blocked: set[str]) -> Callable[[], None] | None:
    """A slot of a function that has a limit, as what gives it back. None when it is at its limit."""
    function_id, run_id = str(row.function_id), str(row.pk)
    try:
        function = directory.known(function_id) or directory.look_up(function_id)
        directory.check_version(function, row.version)
        timeout_sec = function.timeout_of(row.version, row.environment)
    except (FunctionNotFound, VersionNotFound):
        return lambda: None
    if function.max_concurrency <= 0:
        return lambda: None
    if not services.take_slot(function, run_id, timeout_sec):
        blocked.add(function_id)
        return None

    def release() -> None:
        services.release_slot(function_id, run_id)

    return release


def _run_row(worker: Worker, row: Invocation) -> None:
    run_log = worker.shipper.open(str(row.pk), str(row.function_id))
    spec = _spec(worker, str(row.function_id), row.version, row.environment)
    start: StartKind | None = None
    if spec is None:
        outcome = _deleted(row.function_name, row.version, row.environment)
    elif isinstance(spec, Outcome):
        outcome = spec
    else:
        context = Call(
            invocation_id=str(row.pk),
            request_id=row.request_id,
            attempt=row.attempt,
            alias=row.alias_used,
            trigger_type=row.trigger_type,
        )
        wait_sec = worker.settings.queue_wait_sec
        start, outcome = run(worker, spec, context, bytes(row.input), wait_sec, run_log)
    lifecycle.finish(row, outcome, start, timezone.now(), random.random())
    _announce_end(worker, outcome, run_log)
    _count(row.function_name, row.runtime, start, outcome)


def _announce_end(worker: Worker, outcome: Outcome, run_log: RunLog) -> None:
    try:
        pipeline = worker.client.pipeline(transaction=False)
        worker.shipper.end(pipeline, run_log, outcome.status, always=True)
        pipeline.execute()
    except RedisError:
        log.warning("the end of a run can't be announced: Redis is away")


def _as_told(call: CallMessage, started_ms: float) -> dict[str, Any]:
    return {
        "id": call.id,
        "request_id": call.request_id,
        "function_id": call.function_id,
        "function_name": call.function_name,
        "version": call.version,
        "trigger_type": call.trigger_type,
        "started_ms": started_ms,
    }


def _unavailable(error: str) -> Outcome:
    return Outcome(status=Status.FAILED, fault=Fault.PLATFORM, error=error, error_type=ErrorType.SANDBOX_UNAVAILABLE)


def _deleted(name: str, version: int, environment: str) -> Outcome:
    what = f"The function {name} (version {version})" + (f" or its environment {environment}" if environment else "")
    return Outcome(
        status=Status.FAILED,
        fault=Fault.CALLER,
        error=f"{what} was deleted before this could run.",
        error_type="FunctionDeleted",
    )


def _count(function: str, runtime: str, start: StartKind | None, outcome: Outcome) -> None:
    metrics.INVOCATIONS.labels(function, runtime, outcome.status).inc()
    if not outcome.ok:
        metrics.ERRORS.labels(function, outcome.error_type).inc()
    if start is None:
        return
    cold = start is StartKind.COLD
    metrics.DURATION.labels(function, runtime, str(cold).lower()).observe(outcome.duration_ms)
    if cold:
        metrics.COLD_STARTS.labels(function, runtime).inc()
    elif start is StartKind.WARM:
        metrics.WARM_STARTS.labels(function, runtime).inc()
