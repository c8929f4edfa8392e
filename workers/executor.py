"""lease -> invoke: what a worker does with a run, and a synchronous call from its message to the answer on its way.
Queued runs are in queued.py."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from functions.configuration import SecretUnreadable
from functions.spec import FunctionSpec
from invocations import results, slots
from invocations.outcome import Outcome, StartKind
from invocations.record import CallMessage, RunRecord, record_of
from nimbus_project.core.logging import request_id_var
from workers.logship import RunLog
from workers.sandbox import Call, SandboxError
from workers.tally import count
from workers.unrun import as_told, deleted, unavailable

if TYPE_CHECKING:
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
    worker.calls[call.id] = as_told(call, started_ms)
    try:
        start, outcome = _serve_call(worker, call, event, started_ms, run_log)
    except Exception:
        # Whatever it was, somebody waits for an answer and would wait until their deadline.
        log.exception("a call could not be run")
        start, outcome = None, unavailable("The worker could not run this call. Its log says why. Try again.")
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
    count(call.function_name, call.runtime, start, outcome)


def _serve_call(
    worker: Worker, call: CallMessage, event: bytes, started_ms: float, run_log: RunLog
) -> tuple[StartKind | None, Outcome]:
    wait_sec = (call.start_before_ms - started_ms) / 1000
    if wait_sec <= 0 or worker.draining.is_set():
        return None, unavailable("No worker took this call in time. Try again or call it asynchronously.")
    spec = spec_for(worker, call.function_id, call.version, call.environment, call.generation)
    if spec is None:
        return None, deleted(call.function_name, call.version, call.environment)
    if isinstance(spec, Outcome):
        return None, spec
    context = Call(invocation_id=call.id, request_id=call.request_id, alias=call.alias, trigger_type=call.trigger_type)
    return run(worker, spec, context, event, wait_sec, run_log)


def spec_for(
    worker: Worker, function_id: str, version: int, environment: str, generation: int = 0
) -> FunctionSpec | Outcome | None:
    """What to run; None when it is gone, an Outcome when it can't be made up."""
    try:
        return worker.specs.get(function_id, version, environment, generation=generation)
    except SecretUnreadable as error:
        log.error("a secret can't be read", extra={"function_id": function_id, "reason": str(error)})
        return unavailable(str(error))


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
        return None, unavailable(str(error))


def _deliver(worker: Worker, call: CallMessage, record: RunRecord, run_log: RunLog) -> None:
    """The record first, then the answer. A Redis that is away is waited for a few seconds."""
    data = record.to_bytes()
    worker.keep(call, record)
    for _ in range(DELIVERY_TRIES):
        try:
            pipeline = worker.client.pipeline(transaction=False)
            results.append(pipeline, call.reply_to, data)
            if call.slot:
                pipeline.zrem(slots.key(call.function_id), call.id)
            worker.shipper.end(pipeline, run_log, record.status, always=False)
            pipeline.execute()
            return
        except RedisError:
            log.warning("answer can't be delivered yet: Redis is away")
            time.sleep(DELIVERY_WAIT_SEC)
