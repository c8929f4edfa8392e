"""Synchronous calls, seen from the web process: admit, send, wait for the answer. Native async: hundreds of callers
wait in one process, none of them in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar
from uuid import UUID

from django.db import close_old_connections
from django.utils import timezone
from redis.exceptions import RedisError

from accounts import directory as known_keys
from accounts import quotas
from functions import directory
from functions.directory import LiveFunction
from invocations import daily, idempotency, ledger, services
from invocations.counters import Counters
from invocations.direct import DirectLane, WorkerLost
from invocations.foresight import Foresight
from invocations.models import Invocation
from invocations.outcome import TERMINAL, ErrorType, Fault, Outcome, Status
from invocations.record import CallMessage, RunRecord, record_of
from invocations.results import Mailbox
from invocations.services import NewInvocation
from nimbus_project.config import config
from nimbus_project.core import fleet, redis
from nimbus_project.core.errors import Conflict, NimbusError, NoWorker, Unavailable
from nimbus_project.core.ids import new_id

log = logging.getLogger("nimbus.calls")

P = ParamSpec("P")
T = TypeVar("T")

_GRACE_SEC = 20.0
"""Over wait and timeout: the load of the code, the kill, the way back."""


DESK = "nimbus.desk"
"""The key of an ASGI scope under which the entrance hands its desk on to Django."""
_SWITCH_SEC = 0.0005
"""How long a thread may keep the loop from running (sys.setswitchinterval): Python's own 5 ms would be five calls."""
_LOOKS = 3
"""In a row without a worker before it counts as gone."""


class CallDesk:
    """What one web process needs to make calls: threads for what blocks, the mailbox, a view of the workers."""

    def __init__(self) -> None:
        self.web_id = f"{config().node}-{os.getpid()}-{new_id().hex[-8:]}"
        self.mailbox = Mailbox(self.web_id)
        self.lane = DirectLane(config())
        self._max_waiting = config().max_waiting_calls
        self._queue_wait_sec = config().queue_wait_sec
        self._threads = ThreadPoolExecutor(16, thread_name_prefix="nimbus-web")
        self._workers_seen_at = 0.0
        self._running_on: dict[str, str] = {}
        self._missed: dict[str, int] = {}
        """Looks in a row that did not find a worker that callers wait for; under "" those that found none at all."""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin reading answers, watching workers, hearing of changes."""
        self.loop = asyncio.get_running_loop()
        self._redis = redis.async_connection()
        self._counters = Counters(self._redis)
        await self._look_at_workers()
        sys.setswitchinterval(_SWITCH_SEC)
        jobs = (
            self.mailbox.deliver(self._redis),
            self._watch_workers(),
            self._hear_changes(),
            Foresight(self.in_thread).look_ahead(),
        )
        self._tasks = [asyncio.create_task(job) for job in jobs]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.lane.close()
        self._counters.close()
        await self._redis.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run blocking work of the domain (database, Redis) on one of a few threads."""
        context = copy_context()

        def run() -> T:
            close_old_connections()
            try:
                return context.run(work, *args, **kwargs)
            finally:
                close_old_connections()

        return await asyncio.get_running_loop().run_in_executor(self._threads, run)

    async def function(self, reference: str) -> LiveFunction:
        """From memory, else from the database. Raises FunctionNotFound."""
        known = directory.known(reference)
        # That it can be called now, as when a worker has built it, may be news that is still on its way: read again
        # before anybody is refused.
        return known if known is not None and known.invokable else await self.in_thread(directory.look_up, reference)

    async def call(self, new: NewInvocation) -> RunRecord:
        """Run it and wait. The record says how it ended; raises NimbusError when it could not be run."""
        services.check_active(new.function)
        if not self.has_room:
            raise Unavailable("Too many calls are waiting here. Try again in a moment.", code="too_many_waiting")
        await self._check_workers()
        if new.idempotency_key:
            return await self._call_once(new)
        return await self._call(new)

    @property
    def has_room(self) -> bool:
        """For one more caller to wait."""
        return len(self.mailbox) + len(self.lane) < self._max_waiting

    async def _call_once(self, new: NewInvocation) -> RunRecord:
        """With an idempotency key: the first one runs, the others get its answer."""
        key, body = new.idempotency_key, new.event
        claim = await self.in_thread(idempotency.claim, new.function.id, key, body, new.id, timezone.now())
        if not claim.first:
            return await self._answer_of(claim.invocation_id, new)
        try:
            run = await self._call(new)
        except NimbusError:
            await self.in_thread(idempotency.release, new.function.id, key, new.id)
            raise
        if run.error_type == ErrorType.SANDBOX_UNAVAILABLE:
            # It never began: a repeated request may.
            await self.in_thread(idempotency.release, new.function.id, key, new.id)
        return run

    async def _answer_of(self, first: UUID, new: NewInvocation) -> RunRecord:
        until = time.monotonic() + config().queue_wait_sec + new.timeout_sec + _GRACE_SEC
        row = None
        while time.monotonic() < until:
            row = await self.in_thread(Invocation.objects.filter(pk=first).first)
            if row is not None and row.status in TERMINAL:
                return _record_of_row(row)
            await asyncio.sleep(0.05)
        if row is None:
            # So long after it, the first one has not run and won't: its web process died before it was sent.
            await self.in_thread(idempotency.release, new.function.id, new.idempotency_key, first)
        raise Conflict("The first request with this Idempotency-Key has not ended yet.", code="idempotency_in_progress")

    async def _call(self, new: NewInvocation) -> RunRecord:
        """Counted against the owner's daily quota, if there is one; not when it could not be run."""
        owner_id, now = new.function.owner_id, timezone.now()
        limit = daily.limit_of(owner_id)
        if limit is None:
            limit = (await self.in_thread(quotas.limits_of, owner_id)).max_invocations_per_day
        if not limit:
            return await self._run(new)
        if not await daily.take_in_loop(self._counters, owner_id, limit, now):
            await self.in_thread(daily.take, owner_id, limit, now)
        try:
            return await self._run(new)
        except NimbusError:
            await self.in_thread(daily.give_back, owner_id, now)
            raise

    async def _run(self, new: NewInvocation) -> RunRecord:
        function, run_id = new.function, str(new.id)
        slot = function.max_concurrency > 0
        if slot and not await self._take_slot(function, run_id, new.timeout_sec):
            raise services.at_limit(function)
        message = services.call_message(new, reply_to=self.web_id, now_ms=time.time() * 1000, slot=slot)
        try:
            return await self.send(message, new.event, new.timeout_sec)
        except WorkerLost as lost:
            await self._release(slot, function.id, run_id)
            return await self.lost(message, new.event, lost)
        except Unavailable:
            await self._release(slot, function.id, run_id)
            raise

    def give_up_at(self, timeout_sec: int) -> float:
        """When a call that is sent now has no answer to hope for any more, by `time.monotonic()`."""
        return time.monotonic() + self._queue_wait_sec + timeout_sec + _GRACE_SEC

    async def send(self, message: CallMessage, event: bytes, timeout_sec: int) -> RunRecord:
        """By the direct lane, else by the queue. Raises WorkerLost, NoWorker, Unavailable."""
        record = await self.lane.call(message, event, self.give_up_at(timeout_sec))
        return record if record is not None else await self._run_queued(message, event, timeout_sec)

    async def lost(self, message: CallMessage, event: bytes, lost: WorkerLost) -> RunRecord:
        """The record of a run whose worker died with it: nobody else has one."""
        outcome = Outcome(status=Status.FAILED, fault=Fault.PLATFORM, error=str(lost), error_type=ErrorType.WORKER_LOST)
        record = record_of(message, outcome, event=event, completed_ms=time.time() * 1000)
        await self.in_thread(ledger.write, [record])
        return record

    async def _run_queued(self, message: CallMessage, event: bytes, timeout_sec: int) -> RunRecord:
        """By the queue, where it waits for a worker with room. Raises WorkerLost, NoWorker, Unavailable."""
        future = self.mailbox.expect(message.id)
        try:
            await services.submit_call(self._redis, message, event)
            return await self._wait(future, message.id, timeout_sec)
        finally:
            self.mailbox.forget(message.id)
            self._running_on.pop(message.id, None)

    async def _wait(self, future: asyncio.Future[RunRecord], run_id: str, timeout_sec: int) -> RunRecord:
        """The answer. A worker begins no call after `queue_wait_sec`, and says within a beat that it has begun one:
        a call that none has then is given up, one that runs has all the time its function may take."""
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(future), config().queue_wait_sec + 3 * fleet.BEAT_SEC)
        if run_id in self._running_on:
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(future, timeout_sec + _GRACE_SEC)
        raise NoWorker("No worker took this call in time. Try again or call it asynchronously.")

    async def _take_slot(self, function: LiveFunction, run_id: str, timeout_sec: int) -> bool:
        try:
            return await services.take_slot(self._counters, function, run_id, timeout_sec)
        except (RedisError, OSError) as error:
            raise _redis_away() from error

    async def _release(self, slot: bool, function_id: str, run_id: str) -> None:
        if slot:
            with contextlib.suppress(RedisError):
                await self.in_thread(services.release_slot, function_id, run_id)

    async def _check_workers(self) -> None:
        """Raises NoWorker when none has been heard of. Costs nothing while the watch sees one."""
        if time.monotonic() - self._workers_seen_at < fleet.DEAD_AFTER_SEC:
            return
        try:
            living = await self.in_thread(fleet.living, redis.connection())
        except RedisError as error:
            raise _redis_away() from error
        if not living:
            raise NoWorker("No worker is running. Start one, or try again if one is on its way.")
        self._workers_seen_at = time.monotonic()

    async def _watch_workers(self) -> None:
        """Each second: who lives, and whose callers wait for a worker that has died."""
        while True:
            await asyncio.sleep(fleet.BEAT_SEC)
            await self._look_at_workers()

    async def _look_at_workers(self) -> None:
        try:
            living = await fleet.living_async(self._redis)
        except (RedisError, OSError):
            return
        alive = {worker.id for worker in living}
        # A Redis that was started empty knows its workers again within a beat.
        self._missed = {w: self._missed.get(w, 0) + 1 for w in {"", *self._running_on.values()} - alive}
        if living:
            self._workers_seen_at, self._missed[""] = time.monotonic(), 0
        elif self._missed[""] >= _LOOKS:
            self._workers_seen_at = 0.0
        waiting = set(self.mailbox.waiting_ids())
        for run_id, worker_id in self._running_on.items():
            if self._missed.get(worker_id, 0) >= _LOOKS:
                self.mailbox.fail(run_id, WorkerLost(f"The worker {worker_id} was lost while this ran."))
        for worker in living:
            self._running_on |= {run["id"]: worker.id for run in worker.running if run["id"] in waiting}
        await self.lane.follow(living)

    async def _hear_changes(self) -> None:
        """Drop what other processes have changed. While messages may be missed, nothing is remembered for long."""
        while True:
            try:
                async with self._redis.pubsub() as listener:
                    await listener.subscribe(redis.CHANGES, redis.KEYS, redis.QUOTAS)
                    _forget_all()
                    async for message in listener.listen():
                        if message["type"] == "message":
                            _hear(message["channel"].decode(), message["data"].decode())
            except (RedisError, OSError):
                _forget_all()
                await asyncio.sleep(0.2)


def _hear(channel: str, news: str) -> None:
    if channel == redis.KEYS:
        known_keys.forget(news)
    elif channel == redis.QUOTAS:
        quotas.forget_all()
    else:
        directory.hear(news)


def _forget_all() -> None:
    known_keys.forget_all()
    quotas.forget_all()
    directory.forget_all()


def _redis_away() -> Unavailable:
    return Unavailable("The queue (Redis) can't be reached right now. Try again.")


def _record_of_row(row: Invocation) -> RunRecord:
    """The record again, for the answer to a repeated request."""
    return RunRecord(
        id=str(row.pk),
        request_id=row.request_id,
        function_id=str(row.function_id),
        function_name=row.function_name,
        runtime=row.runtime,
        version=row.version,
        alias=row.alias_used,
        environment=row.environment,
        status=row.status,
        fault=row.fault,
        error=row.error,
        error_type=row.error_type,
        stack_trace=row.stack_trace,
        start_kind=row.start_kind,
        created_ms=row.created_at.timestamp() * 1000,
        completed_ms=row.completed_at.timestamp() * 1000 if row.completed_at else 0.0,
        duration_ms=row.duration_ms or 0.0,
        output=None if row.output is None else bytes(row.output),
    )
