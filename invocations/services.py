"""submit(): the one door to a run. What ends here either waits (durable: a committed row) or is under way
(synchronous: a message to a worker, the answer through results.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from django.db import transaction
from django.utils import timezone
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import RedisError

from accounts import audit, quotas
from accounts.principal import Principal, principal_var
from functions.directory import LiveFunction
from functions.selectors import seen_among
from invocations import daily, endings, idempotency, lifecycle, selectors, slots
from invocations.counters import Counters
from invocations.errors import EventNotKept, NotCancellable
from invocations.models import Invocation, TriggerType
from invocations.record import CallMessage
from nimbus_project.config import config
from nimbus_project.core import fleet, queue, redis
from nimbus_project.core.errors import (
    Conflict,
    FunctionNotActive,
    InvalidRequest,
    NimbusError,
    TooManyRequests,
    Unavailable,
)
from nimbus_project.core.ids import new_id
from nimbus_project.core.queue import Task

MAX_DELAY_SEC = 86_400
MAX_HOPS = 8
"""Runs of a chain of destinations and events, each the result of the one before: then it is going round."""
_NO_FUNCTION = str(UUID(int=0))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInvocation:
    """What a trigger asks for. `event` is JSON text that was checked to be JSON."""

    function: LiveFunction
    event: bytes
    request_id: str
    id: UUID
    trigger_type: str = TriggerType.HTTP
    version: int | None = None
    """None: the newest."""
    alias: str = ""
    environment: str = ""
    session_key: str = ""
    idempotency_key: str = ""
    delay_sec: float = 0.0
    hops: int = 0
    """Destinations on the way here from the first event of a chain; one more than those of the run that led here."""
    dead_letter_id: UUID | None = None
    """What this is a retry of."""
    max_attempts: int | None = None
    """None: as the function's `max_retries` says."""

    @property
    def runs_version(self) -> int:
        return self.function.version if self.version is None else self.version

    @property
    def timeout_sec(self) -> int:
        """Of the version that it runs, in its environment."""
        return self.function.timeout_of(self.runs_version, self.environment)


def check_active(function: LiveFunction) -> None:
    """Raises FunctionNotActive with what to do about it."""
    if not function.invokable:
        hint = "Put it online first." if function.status == "offline" else "Update its code first."
        raise FunctionNotActive(f"The function {function.name} is {function.status}. {hint}")


def submit(new: NewInvocation) -> Invocation:
    """Accept a durable invocation: committed when this returns, its message sent. With a known idempotency key, the
    invocation that has it. Raises FunctionNotActive, InvalidRequest, IdempotencyMismatch, DailyQuotaExceeded."""
    check_active(new.function)
    if not 0 <= new.delay_sec <= MAX_DELAY_SEC:
        raise InvalidRequest(f"delay_sec must be 0 to {MAX_DELAY_SEC}.")
    now = timezone.now()
    if not new.idempotency_key:
        # One statement, which is a transaction by itself unless the caller has one: two ways to the database less.
        return _store(new, now)
    with transaction.atomic():
        claim = idempotency.claim(new.function.id, new.idempotency_key, new.event, new.id, now)
        return _store(new, now) if claim.first else _first_of(claim.invocation_id)


def submit_all(asked: Sequence[tuple[Principal, NewInvocation]]) -> list[Invocation | NimbusError]:
    """As `submit`, for many at once, each in somebody's name: all rows in one statement, one message for each function.
    What was accepted, or why not, in the same order. Neither delays nor idempotency keys."""
    now = timezone.now()
    answers = [_admitted(who, new, now) for who, new in asked]
    rows = [answer for answer in answers if isinstance(answer, Invocation)]
    try:
        lifecycle.accept_all(rows, now)
    except Exception:
        for row in rows:
            if quotas.limits_of(row.owner_id).max_invocations_per_day:
                daily.give_back(row.owner_id, now)
        raise
    for function_id in {str(row.function_id) for row in rows}:
        queue.wake_after_commit(Task.RUN_INVOCATION, function_id)
    return answers


def _admitted(who: Principal, new: NewInvocation, now: datetime) -> Invocation | NimbusError:
    """Checked and counted, not yet stored; or why not."""
    assert not new.delay_sec and not new.idempotency_key
    try:
        check_active(new.function)
        if limit := quotas.limits_of(new.function.owner_id).max_invocations_per_day:
            daily.take(new.function.owner_id, limit, now)
    except NimbusError as error:
        return error
    return _row(new, now, who)


def _store(new: NewInvocation, now: datetime) -> Invocation:
    with _counted(new.function.owner_id, now):
        invocation = _row(new, now, principal_var.get())
        lifecycle.accept(invocation, now, delay_sec=new.delay_sec)
    if new.delay_sec <= 0:
        queue.wake_after_commit(Task.RUN_INVOCATION, new.function.id)
    return invocation


def _first_of(invocation_id: UUID) -> Invocation:
    """What an idempotency key stands for. Raises Conflict for a synchronous call, which has no row until it ends."""
    row = Invocation.objects.filter(pk=invocation_id).first()
    if row is None:
        raise Conflict("The first request with this Idempotency-Key has not ended yet.", code="idempotency_in_progress")
    return row


@contextmanager
def _counted(owner_id: int | None, now: datetime) -> Iterator[None]:
    """Against the owner's daily quota, if there is one; not when the block fails. Raises DailyQuotaExceeded."""
    limit = quotas.limits_of(owner_id).max_invocations_per_day
    if not limit:
        yield
        return
    daily.take(owner_id, limit, now)
    try:
        yield
    except Exception:
        daily.give_back(owner_id, now)
        raise


async def submit_call(client: AsyncRedis, message: CallMessage, event: bytes) -> None:
    """Send a synchronous call to the workers. Raises Unavailable."""
    await queue.send_async(client, Task.RUN_CALL, message.to_wire(), event.decode())


def call_message(new: NewInvocation, *, reply_to: str, now_ms: float, slot: bool) -> CallMessage:
    return CallMessage(
        id=str(new.id),
        request_id=new.request_id,
        function_id=new.function.id,
        function_name=new.function.name,
        runtime=new.function.runtime,
        version=new.runs_version,
        owner_id=new.function.owner_id,
        caller_id=principal_var.get().user_id,
        alias=new.alias,
        environment=new.environment,
        generation=new.function.generation,
        trigger_type=new.trigger_type,
        session_key=new.session_key,
        created_ms=now_ms,
        start_before_ms=now_ms + config().queue_wait_sec * 1000,
        reply_to=reply_to,
        slot=slot,
        is_repeatable=bool(new.idempotency_key),
    )


async def take_slot(counters: Counters, function: LiveFunction, run_id: str, timeout_sec: int) -> bool:
    """One of the function's `max_concurrency` slots, from any process. True when it holds one now. Raises RedisError,
    OSError."""
    # The run's own timeout: an older version that runs longer than the newest must not lose its slot under way.
    lease_ms = slots.lease_ms(timeout_sec, config().queue_wait_sec)
    key = slots.key(function.id)
    return await counters.ask(slots.take_script(), key, run_id, function.max_concurrency, lease_ms) == 1


def take_slot_for(function_id: str, slot: str, limit: int, lease_ms: int) -> bool:
    """As `take_slot`, from a thread and for so long. Raises RedisError."""
    script = redis.connection().register_script(slots.take_script())
    return bool(script(keys=[slots.key(function_id)], args=[slot, limit, lease_ms]))


def release_slot(function_id: str, run_id: str) -> None:
    redis.connection().zrem(slots.key(function_id), run_id)


def at_limit(function: LiveFunction) -> TooManyRequests:
    return TooManyRequests(
        f"The function {function.name} already runs {function.max_concurrency} times, its max_concurrency. "
        "Try again or call it asynchronously."
    )


def replay(original: Invocation, function: LiveFunction, request_id: str) -> Invocation:
    """The same event once more, asynchronously, on the function as it is now, in the same environment. Raises
    EnvironmentNotFound when that is gone, EventNotKept."""
    if original.omitted_input_bytes is not None:
        raise EventNotKept(f"The event was too large to be kept ({original.omitted_input_bytes} bytes).")
    again = NewInvocation(
        function=function,
        event=bytes(original.input),
        request_id=request_id,
        id=new_id(),
        trigger_type=TriggerType.ASYNC,
        environment=function.environment(original.environment).environment,
        session_key=original.session_key,
    )
    with transaction.atomic():
        row = submit(again)
        audit.record(
            "invocation.replay", "invocation", original.pk, function.name, after={"invocation_id": str(row.pk)}
        )
    return row


class Cancelled(NamedTuple):
    """What was told to end. A synchronous run is "cancelling": it has no row before it has ended."""

    request_id: str
    invocation_id: str
    status: str


def cancel(reference: str) -> Cancelled:
    """End a pending or running invocation; its sandbox is killed. Raises InvocationNotFound, NotCancellable."""
    running = _running_call(reference)
    if running is not None:
        with transaction.atomic():
            audit.record("invocation.cancel", "invocation", running["id"], running["function_name"])
        if not redis.publish(redis.CONTROL, orjson.dumps({"cancel": running["id"]})):
            raise Unavailable("The workers (by Redis) can't be reached right now. Try again.")
        return Cancelled(running["request_id"], running["id"], "cancelling")
    row = selectors.invocation_get(reference)
    with transaction.atomic():
        now = timezone.now()
        won = lifecycle.cancel(row.pk, now)
        if won:
            endings.tell(row.trigger_type, row.pk, now)
            audit.record("invocation.cancel", "invocation", row.pk, row.function_name, before={"status": row.status})
    if not won:
        row.refresh_from_db(fields=["status"])
        raise NotCancellable(f"The invocation has ended already: {row.status}.")
    redis.publish(redis.CONTROL, orjson.dumps({"cancel": str(row.pk)}))
    row.refresh_from_db(fields=["status"])
    return Cancelled(row.request_id, str(row.pk), row.status)


def _running_call(reference: str) -> dict[str, Any] | None:
    """A synchronous run under way, of a function that may be seen."""
    try:
        living = fleet.living(redis.connection())
    except RedisError:
        # Queued ones can be ended without it; a synchronous one is not found.
        return None
    found = [run for worker in living for run in worker.running if reference in (run["id"], run["request_id"])]
    # Asked also when there is none: the time of a refusal must not tell somebody else's run from none at all.
    seen = seen_among([run["function_id"] for run in found] or [_NO_FUNCTION])
    return next((run for run in found if run["function_id"] in seen), None)


def _row(new: NewInvocation, now: datetime, caller: Principal) -> Invocation:
    function = new.function
    trigger = TriggerType.ASYNC if new.trigger_type == TriggerType.HTTP else new.trigger_type
    return Invocation(
        id=new.id,
        request_id=new.request_id,
        function_id=function.id,
        function_name=function.name,
        runtime=function.runtime,
        version=new.runs_version,
        owner_id=function.owner_id,
        caller_id=caller.user_id,
        alias_used=new.alias,
        environment=new.environment,
        trigger_type=trigger,
        input=new.event,
        session_key=new.session_key,
        max_attempts=new.max_attempts or function.max_retries + 1,
        expires_at=now + timedelta(seconds=function.max_event_age_sec + new.delay_sec),
        hops=new.hops,
        dead_letter_id=new.dead_letter_id,
    )
