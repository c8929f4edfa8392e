"""Synchronous calls as the web process sees them: what it makes of answers, of silence, and of workers that go."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from django.db import connections

from functions import directory
from invocations import calls, results
from invocations.calls import CallDesk
from invocations.models import IdempotencyKey, Invocation
from invocations.record import RunRecord
from invocations.services import NewInvocation
from nimbus_project.core import fleet, redis
from nimbus_project.core.errors import Conflict, NoWorker
from nimbus_project.core.ids import new_id
from nimbus_project.core.redis import REPLIES, WORKER, WORKERS
from tests.integration.plane import make_function

pytestmark = pytest.mark.usefixtures("transactional_db")

WORKER_ID = "w-1"
WITHIN_SEC = 20.0


def state(**more: Any) -> fleet.WorkerState:
    values: dict[str, Any] = {"id": WORKER_ID, "node": "n", "pid": 1, "driver": "process", "started_at": 0.0}
    return fleet.WorkerState(threads=4, **values | more)


def answer_to(call: NewInvocation, **changes: Any) -> bytes:
    values: dict[str, Any] = {
        "id": str(call.id), "request_id": "r", "function_id": call.function.id, "function_name": "hello",
        "runtime": "python3.11", "version": 1, "status": "success", "created_ms": 0.0, "completed_ms": 1.0,
        "output": b"1",
    }  # fmt: skip
    return RunRecord(**values | changes).to_bytes()


Maker = Callable[..., NewInvocation]


@pytest.fixture
def new() -> Maker:
    """Makes calls of a function; a worker has told of itself."""
    make_function()
    function = directory.look_up("hello")
    fleet.announce(redis.connection(), state())

    def make(**more: Any) -> NewInvocation:
        return NewInvocation(function=function, event=b"{}", request_id="r", id=new_id(), **more)

    return make


def with_desk(test: Callable[[CallDesk], Awaitable[Any]]) -> Any:
    """Run `test` beside a started desk, in an event loop of its own."""

    async def run() -> Any:
        desk = CallDesk()
        await desk.start()
        try:
            async with asyncio.timeout(60):
                return await test(desk)
        finally:
            await desk.in_thread(connections.close_all)
            await desk.stop()

    return asyncio.run(run())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_SEC):
        while not condition():  # noqa: ASYNC110  what is waited for is in Redis
            await asyncio.sleep(0.02)


async def sent(desk: CallDesk, call: NewInvocation) -> asyncio.Task[RunRecord]:
    """The call under way, its message in the queue."""
    task = asyncio.create_task(desk.call(call))
    await until(lambda: task.done() or redis.connection().llen("sync"))
    return task


def reply(desk: CallDesk, *answers: bytes) -> None:
    for each in answers:
        redis.connection().lpush(REPLIES + desk.web_id, each)


# -- answers


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"rubbish",
        b"\0\0\0\2\0\0\0\0{}",
        b"\xff" * 40,
    ],
)
def test_an_unreadable_answer_costs_nobody_elses(new: Maker, rubbish: bytes) -> None:
    async def test(desk: CallDesk) -> bytes | None:
        call = new()
        task = await sent(desk, call)
        reply(desk, rubbish, answer_to(new()), answer_to(call, output=b"7"))
        return (await asyncio.wait_for(task, WITHIN_SEC)).output

    assert with_desk(test) == b"7"


def test_a_heartbeat_of_a_newer_release_is_understood() -> None:
    told = orjson.loads(orjson.dumps(fleet.asdict(state()))) | {"not_known_here": 1}
    assert fleet._states([orjson.dumps(told), None]) == [state()]


# -- workers that come and go


@contextmanager
def beating(**more: Any) -> Iterator[None]:
    """A worker whose heart never stops while the block lasts."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.1):
            fleet.announce(redis.connection(), state(**more))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def gone() -> None:
    redis.connection().delete(WORKER + WORKER_ID, WORKERS)


def test_who_waits_for_a_worker_that_dies_is_told(new: Maker) -> None:
    async def test(desk: CallDesk) -> RunRecord:
        call = new()
        task = await sent(desk, call)
        with beating(running=[{"id": str(call.id)}]):
            await until(lambda: desk._running_on)
        gone()
        return await asyncio.wait_for(task, WITHIN_SEC)

    record = with_desk(test)
    assert (record.status, record.fault, record.error_type) == ("failed", "platform", "WorkerLost")
    assert Invocation.objects.filter(pk=record.id).exists(), "the run is in the history"


def test_a_redis_that_has_forgotten_a_living_worker_costs_no_call(new: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "BEAT_SEC", 0.3)

    async def test(desk: CallDesk) -> bytes | None:
        call = new()
        task = await sent(desk, call)
        with beating(running=[{"id": str(call.id)}]):
            await until(lambda: desk._running_on)
        gone()
        await until(lambda: desk._missed.get(WORKER_ID) == 1)
        with beating(running=[{"id": str(call.id)}]):
            await until(lambda: not desk._missed.get(WORKER_ID))
            reply(desk, answer_to(call, output=b"8"))
            return (await asyncio.wait_for(task, WITHIN_SEC)).output

    assert with_desk(test) == b"8"


def test_when_the_last_worker_has_gone_callers_are_refused_at_once(new: Maker) -> None:
    async def test(desk: CallDesk) -> float:
        await until(lambda: desk._workers_seen_at)
        gone()
        await until(lambda: not desk._workers_seen_at)
        began = time.monotonic()
        with pytest.raises(NoWorker):
            await desk.call(new())
        return time.monotonic() - began

    assert with_desk(test) < 5
    assert redis.connection().llen("sync") == 0


# -- repeated requests


def test_the_key_of_a_call_that_got_no_sandbox_is_free_again(new: Maker) -> None:
    async def test(desk: CallDesk) -> RunRecord:
        call = new(idempotency_key="k")
        task = await sent(desk, call)
        reply(desk, answer_to(call, status="failed", fault="platform", error_type="SandboxUnavailable", output=None))
        return await asyncio.wait_for(task, WITHIN_SEC)

    assert with_desk(test).error_type == "SandboxUnavailable"
    assert not IdempotencyKey.objects.exists()


@pytest.mark.parametrize("status", ["success", "failed", "timeout"])
def test_the_key_of_a_call_that_ran_is_kept(new: Maker, status: str) -> None:
    async def test(desk: CallDesk) -> None:
        call = new(idempotency_key="k")
        task = await sent(desk, call)
        reply(desk, answer_to(call, status=status))
        await asyncio.wait_for(task, WITHIN_SEC)

    with_desk(test)
    assert IdempotencyKey.objects.count() == 1


def test_the_key_of_a_call_that_died_with_its_web_process_is_freed(new: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.utils import timezone

    from invocations import idempotency

    idempotency.claim(new().function.id, "k", b"{}", new_id(), timezone.now())
    monkeypatch.setattr(calls, "_GRACE_SEC", -59.9)

    async def test(desk: CallDesk) -> None:
        with pytest.raises(Conflict):
            await desk.call(new(idempotency_key="k"))

    with_desk(test)
    assert not IdempotencyKey.objects.exists()


def test_answers_for_a_web_process_that_is_gone_disappear() -> None:
    pipeline = redis.connection().pipeline()
    results.append(pipeline, "gone", b"x")
    pipeline.execute()
    assert 0 < redis.connection().ttl(REPLIES + "gone") <= results.KEPT_SEC
