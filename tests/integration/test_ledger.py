"""The ledger: a finished run's way from the worker's hand into the database, whatever dies on it."""

from __future__ import annotations

import threading
import time
from typing import Any

import orjson
import pytest
from django.db import DatabaseError
from redis.exceptions import RedisError

from invocations import ledger
from invocations.models import Invocation, InvocationLog
from invocations.record import RunRecord
from nimbus_project.core import redis
from nimbus_project.core.ids import new_id
from nimbus_project.core.redis import LEDGER
from tests.integration.plane import in_threads, wait_until
from tests.services import RedisServer
from workers.scribe import Scribe

pytestmark = pytest.mark.usefixtures("transactional_db")


def record(**changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "id": str(new_id()),
        "request_id": "r-1",
        "function_id": str(new_id()),
        "function_name": "hello",
        "runtime": "python3.11",
        "version": 1,
        "status": "success",
        "worker_id": "w1",
        "created_ms": 1_700_000_000_000.0,
        "started_ms": 1_700_000_000_010.0,
        "completed_ms": 1_700_000_000_020.0,
        "duration_ms": 9.5,
        "queue_ms": 10.0,
        "input": b'{"a": "\\u0000"}',
        "output": b"[1]",
        "logs": [(1, "stdout", "hi")],
    }
    return RunRecord(**values | changes)


def append(*records: RunRecord) -> None:
    pipeline = redis.connection().pipeline(transaction=False)
    for each in records:
        ledger.append(pipeline, each.to_bytes())
    pipeline.execute()


def drain(writer: str = "w1") -> int:
    """All there is; the group is made when it is missing."""
    done = 0
    for _ in range(20):
        done += ledger.drain_once(redis.connection(), writer, block_ms=1)
        if redis.connection().xlen(LEDGER) == 0:
            break
    return done


def ids() -> set[str]:
    return {str(pk) for pk in Invocation.objects.values_list("pk", flat=True)}


def test_a_record_becomes_a_row_with_its_lines() -> None:
    run = record(error="e", error_type="T", stack_trace=["s"], alias="prod", memory_used_mb=3.5)
    append(run)
    assert drain() == 1
    row = Invocation.objects.get()
    for name in ("request_id", "function_name", "version", "status", "worker_id", "error", "error_type", "stack_trace"):
        assert getattr(row, name) == getattr(run, name), name
    assert (str(row.pk), str(row.function_id), row.alias_used) == (run.id, run.function_id, "prod")
    assert (bytes(row.input), bytes(row.output or b"")) == (run.input, run.output)
    assert (row.attempt, row.billed_time_ms, row.memory_used_mb) == (1, 10, 3.5)
    assert row.created_at.timestamp() * 1000 == run.created_ms
    assert orjson.loads(bytes(InvocationLog.objects.get().lines)) == [[1, "stdout", "hi"]]
    assert redis.connection().xlen(LEDGER) == 0


def test_writing_twice_changes_nothing() -> None:
    run = record()
    ledger.write([run])
    ledger.write([run, record(id=run.id, status="failed", error="other")])
    assert (Invocation.objects.get().status, InvocationLog.objects.count()) == ("success", 1)


def test_a_writer_that_dies_before_its_insert_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    run = record()
    append(run)
    _take_and_die(monkeypatch)
    assert ids() == set()
    assert drain("w2") == 0  # it is in the hands of the dead one
    monkeypatch.setattr(ledger, "ABANDONED_MS", 0)
    assert ledger.take_over_abandoned(redis.connection(), "w2") == 1
    assert ids() == {run.id}
    assert redis.connection().xlen(LEDGER) == 0


def test_a_writer_that_dies_between_insert_and_acknowledgement_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    run = record()
    append(run)
    _take_and_die(monkeypatch, after=True)
    assert ids() == {run.id}
    monkeypatch.setattr(ledger, "ABANDONED_MS", 0)
    assert ledger.take_over_abandoned(redis.connection(), "w2") == 1
    assert ids() == {run.id}
    assert redis.connection().xlen(LEDGER) == 0


class _Died(Exception):
    pass


def _take_and_die(monkeypatch: pytest.MonkeyPatch, *, after: bool = False) -> None:
    write = ledger.write

    def dying(records: list[RunRecord]) -> None:
        if after:
            write(records)
        raise _Died

    ledger.drain_once(redis.connection(), "w1", block_ms=1)  # makes the group
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "write", dying)
        with pytest.raises(_Died):
            ledger.drain_once(redis.connection(), "w1", block_ms=1)


def test_writers_share_what_is_there() -> None:
    runs = [record() for _ in range(200)]
    append(*runs)
    ledger.drain_once(redis.connection(), "w0", block_ms=1)
    done = in_threads(4, lambda n: ledger.drain_once(redis.connection(), f"w{n}", block_ms=1))
    drain()
    assert not [each for each in done if isinstance(each, Exception)]
    assert ids() == {run.id for run in runs}


def test_a_redis_that_was_started_empty_gets_its_group_again(redis_server: RedisServer) -> None:
    append(record())
    assert drain() == 1
    redis_server.kill9()
    with pytest.raises(RedisError):
        ledger.drain_once(redis.connection(), "w1", block_ms=1)
    redis_server.start()
    run = record()
    append(run)
    assert drain() == 1
    assert run.id in ids()


# -- records that no database takes must not hold up the others

POISON = {
    "a type's name too long": record(error_type="T" * 200),
    "NUL in a text": record(error="a\0b"),
    "NUL in a trace": record(stack_trace=["a\0b"]),
    "an id that is none": record(id="x"),
    "a time out of range": record(completed_ms=1e18),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_a_record_that_cannot_be_stored_is_passed_over(poison: RunRecord) -> None:
    before, after = record(), record()
    append(before, poison, after)
    drain()
    assert {before.id, after.id} <= ids()
    assert redis.connection().xlen(LEDGER) == 0


@pytest.mark.parametrize("rubbish", [b"", b"x", b"\0\0\0\1\0\0\0\0[", b"\0\0\0\2\0\0\0\0{}"])
def test_an_entry_that_is_no_record_is_passed_over(rubbish: bytes) -> None:
    run = record()
    pipeline = redis.connection().pipeline(transaction=False)
    ledger.append(pipeline, rubbish)
    pipeline.xadd(LEDGER, {b"other": b"x"})
    pipeline.execute()
    append(run)
    drain()
    assert ids() == {run.id}
    assert redis.connection().xlen(LEDGER) == 0


def test_a_database_that_is_away_costs_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    run = record()
    append(run)

    def away(records: list[RunRecord]) -> None:
        from django.db import OperationalError

        raise OperationalError("the database is away")

    ledger.drain_once(redis.connection(), "w1", block_ms=1)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "write", away)
        with pytest.raises(DatabaseError):
            ledger.drain_once(redis.connection(), "w1", block_ms=1)
    assert redis.connection().xlen(LEDGER) == 1
    monkeypatch.setattr(ledger, "ABANDONED_MS", 0)
    ledger.take_over_abandoned(redis.connection(), "w1")
    assert ids() == {run.id}


# -- reading right after the answer


def test_settle_returns_when_what_was_appended_before_is_written() -> None:
    append(record(), record())
    writer = threading.Timer(0.2, lambda: in_threads(1, lambda _: drain()))
    writer.start()
    ledger.settle(redis.connection(), bound_sec=20)
    assert Invocation.objects.count() == 2
    writer.join()


def test_settle_does_not_wait_for_what_comes_later() -> None:
    append(record())
    drain()
    append(record())
    drain()
    began = time.monotonic()
    ledger.settle(redis.connection(), bound_sec=20)
    assert time.monotonic() - began < 10


def test_settle_without_a_writer_is_bounded() -> None:
    append(record())
    ledger.settle(redis.connection(), bound_sec=0.1)


# -- the thread that does it in a worker


def test_the_scribe_writes_until_it_is_stopped() -> None:
    scribe = Scribe(redis.connection(), "w1")
    scribe.start()
    try:
        first = record()
        append(first)
        wait_until(lambda: first.id in ids(), "the first record")
    finally:
        last = record()
        append(last)
        scribe.stop()
    assert last.id in ids()


def test_the_scribe_outlives_a_redis_that_goes(redis_server: RedisServer) -> None:
    scribe = Scribe(redis.connection(), "w1")
    scribe.start()
    try:
        redis_server.kill9()
        redis_server.start()
        run = record()
        append(run)
        wait_until(lambda: run.id in ids(), "the record after the restart")
    finally:
        scribe.stop()
