"""A queued invocation on a worker: claim -> lease -> invoke -> finish. Whose turn it is, and on which thread, is
takers.py's business."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import close_old_connections
from django.utils import timezone
from redis.exceptions import RedisError

from functions import directory
from functions.errors import FunctionNotFound
from invocations import lifecycle
from invocations.models import Invocation
from invocations.outcome import Outcome, StartKind
from nimbus_project.core.ids import new_id
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.outage import Outage
from nimbus_project.core.queue import Task, woken
from nimbus_project.core.unforeseen import outage_of
from workers import executor
from workers.logship import RunLog
from workers.sandbox import Call
from workers.takers import Took
from workers.tally import count
from workers.unrun import deleted, unavailable

if TYPE_CHECKING:
    from workers.worker import Worker

log = logging.getLogger("nimbus.queued")

_FINISH_AGAIN_SEC = (0.1, 0.2, 0.5, 1.0)
_unfinished = Outage(log, "ended runs can't be recorded yet")


def wake(worker: Worker, function_id: str) -> None:
    """A message: rows of this function may wait."""
    try:
        woken(Task.RUN_INVOCATION, function_id)
    except RedisError:
        log.debug("the next message for this function may come a second late")
    worker.takers.wake(function_id)


def take_one(worker: Worker, function_id: str) -> Took:
    """Claim a row of this function, if it has one that is due, and run it. Raises DatabaseError, RedisError when they
    are away."""
    slot = _take_slot(worker, function_id)
    if slot is None:
        return Took.AT_LIMIT
    try:
        now = timezone.now()
        row = lifecycle.claim(UUID(function_id), worker.id, now, worker.settings.lease_sec)
        if row is None:
            return Took.NONE
        request_id_var.set(row.request_id)
        if row.expires_at is not None and row.expires_at < now:
            lifecycle.expire_event(row, now)
        else:
            _run_claimed(worker, row)
        return Took.ONE
    finally:
        if slot:
            worker.slots.release(slot)
            worker.takers.free_again(function_id)


def _take_slot(worker: Worker, function_id: str) -> str | None:
    """Of a function that may not run more than so often at once: the slot, to be given back; "" where there is no such
    limit, None when it is at it. Before a row is claimed: a claimed one must run. Raises RedisError."""
    try:
        function = directory.known(function_id) or directory.look_up(function_id)
    except FunctionNotFound:
        return ""
    if function.max_concurrency <= 0:
        return ""
    slot = str(new_id())
    return slot if worker.slots.take(function_id, slot, function.max_concurrency) else None


def _run_claimed(worker: Worker, row: Invocation) -> None:
    worker.invocations[str(row.pk)] = row
    try:
        _run(worker, row)
    finally:
        worker.invocations.pop(str(row.pk), None)


def _run(worker: Worker, row: Invocation) -> None:
    run_log = worker.shipper.open(str(row.pk), str(row.function_id))
    start, outcome = _outcome_of(worker, row, run_log)
    # The heart renews the lease meanwhile: a row whose end is being recorded is still this worker's.
    if _finish(worker, row, outcome, start):
        _announce_end(worker, outcome, run_log)
        count(row.function_name, row.runtime, start, outcome)


def _outcome_of(worker: Worker, row: Invocation, run_log: RunLog) -> tuple[StartKind | None, Outcome]:
    try:
        spec = executor.spec_for(worker, str(row.function_id), row.version, row.environment)
    except Exception as error:
        if not outage_of(error):
            log.exception("a queued run has no specification", extra={"invocation_id": str(row.pk)})
        close_old_connections()
        return None, unavailable("The worker could not read what to run. Its log says why.")
    if spec is None:
        return None, deleted(row.function_name, row.version, row.environment)
    if isinstance(spec, Outcome):
        return None, spec
    context = Call(
        invocation_id=str(row.pk),
        request_id=row.request_id,
        attempt=row.attempt,
        alias=row.alias_used,
        trigger_type=row.trigger_type,
    )
    return executor.run(worker, spec, context, bytes(row.input), worker.settings.queue_wait_sec, run_log)


def _finish(worker: Worker, row: Invocation, outcome: Outcome, start: StartKind | None) -> bool:
    """Record how it ended. False when somebody else has the row.

    While the database is away that is tried again: nobody can take the row then, and once it is back the heart renews
    its lease as soon as this thread gets through. Should the lease have been quicker to run out, the attempt tells.
    """
    waits = iter(_FINISH_AGAIN_SEC)
    wait_sec = _FINISH_AGAIN_SEC[0]
    while True:
        try:
            won = lifecycle.finish(row, outcome, start, timezone.now(), random.random())
        except Exception as error:
            close_old_connections()
            if not outage_of(error):
                raise
            _unfinished.began(error)
        else:
            _unfinished.ended()
            return won
        if worker.closed.is_set():
            log.warning("the end of a run is lost, it will be run again", extra={"invocation_id": str(row.pk)})
            return False
        wait_sec = next(waits, wait_sec)
        worker.closed.wait(wait_sec)


def _announce_end(worker: Worker, outcome: Outcome, run_log: RunLog) -> None:
    try:
        pipeline = worker.client.pipeline(transaction=False)
        worker.shipper.end(pipeline, run_log, outcome.status, always=True)
        pipeline.execute()
    except RedisError:
        log.debug("the end of a run can't be announced: Redis is away")
