"""Queued invocations on a worker: claim -> lease -> invoke -> finish, and which row is next."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from uuid import UUID

from django.utils import timezone
from redis.exceptions import RedisError

from functions import directory
from functions.errors import FunctionNotFound, VersionNotFound
from invocations import lifecycle, selectors, services
from invocations.models import Invocation
from invocations.outcome import Outcome, StartKind, Status
from nimbus_project.core.logging import request_id_var
from workers import executor
from workers.logship import RunLog
from workers.sandbox import Call
from workers.worker import Worker

log = logging.getLogger("nimbus.queued")


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
    spec = executor.spec_for(worker, str(row.function_id), row.version, row.environment)
    start: StartKind | None = None
    if spec is None:
        outcome = executor.deleted(row.function_name, row.version, row.environment)
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
        start, outcome = executor.run(worker, spec, context, bytes(row.input), wait_sec, run_log)
    lifecycle.finish(row, outcome, start, timezone.now(), random.random())
    _announce_end(worker, outcome, run_log)
    executor.count(row.function_name, row.runtime, start, outcome)


def _announce_end(worker: Worker, outcome: Outcome, run_log: RunLog) -> None:
    try:
        pipeline = worker.client.pipeline(transaction=False)
        worker.shipper.end(pipeline, run_log, outcome.status, always=True)
        pipeline.execute()
    except RedisError:
        log.warning("the end of a run can't be announced: Redis is away")
