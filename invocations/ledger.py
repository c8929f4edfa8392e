"""The ledger: finished synchronous runs, from the worker's hand to the database, off the caller's time.

A worker appends the record to a Redis stream in the same round trip that wakes the caller, and before it: no answer
is sent whose record could be lost with the worker. Writers (one thread per worker process) take records in batches
by a consumer group and insert them; inserting twice changes nothing, so a writer that died between insert and
acknowledgement does no harm.
"""

from __future__ import annotations

import logging
import struct
import time
from datetime import UTC, datetime
from typing import Any, cast

import orjson
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, transaction
from redis import Redis
from redis.exceptions import ResponseError

from invocations.answer import billed_ms
from invocations.models import Invocation, InvocationLog
from invocations.record import RunRecord
from nimbus_project.core.redis import LEDGER

log = logging.getLogger("nimbus.ledger")

GROUP = "writers"
BATCH = 500
ABANDONED_MS = 5000
"""A record that another writer took and did not acknowledge for so long is taken over."""
# A backstop should no writer run for long; far above what a second of full load makes.
MAX_ENTRIES = 200_000

# Trying again does not help: a value out of range, too long or of the wrong kind.
_NEVER = (DataError, IntegrityError, ValidationError, ValueError, TypeError, OverflowError)

Entries = list[tuple[bytes, dict[bytes, bytes]]]


def append(pipeline: Redis, record: bytes) -> None:
    """Add one record to a pipeline; put it before the answer."""
    pipeline.xadd(LEDGER, {b"r": record}, maxlen=MAX_ENTRIES, approximate=True)


def drain_once(client: Redis, writer: str, *, block_ms: int) -> int:
    """Write what is there, waiting up to `block_ms` for the first record. The count. Raises RedisError, DatabaseError
    (the records then stay for the next try)."""
    try:
        entries = _read(client, writer, block_ms)
    except ResponseError as error:
        if "NOGROUP" not in str(error):
            raise
        # A Redis that was started empty has forgotten the group.
        _make_group(client)
        return 0
    if entries:
        _store(entries)
        ids = [entry_id for entry_id, _ in entries]
        pipeline = client.pipeline(transaction=False)
        pipeline.xack(LEDGER, GROUP, *ids)
        pipeline.xdel(LEDGER, *ids)
        pipeline.execute()
    return len(entries)


def _make_group(client: Redis) -> None:
    try:
        client.xgroup_create(LEDGER, GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


def _read(client: Redis, writer: str, block_ms: int) -> Entries:
    answer = cast(Any, client.xreadgroup(GROUP, writer, {LEDGER: ">"}, count=BATCH, block=block_ms))
    return cast(Entries, answer[0][1]) if answer else []


def take_over_abandoned(client: Redis, writer: str) -> int:
    """Write the records of writers that died with them in hand. The count."""
    try:
        _, entries, *_ = cast(Any, client.xautoclaim(LEDGER, GROUP, writer, ABANDONED_MS, "0-0", count=BATCH))
    except ResponseError:
        return 0
    if entries:
        _store(entries)
        ids = [entry_id for entry_id, _ in entries]
        client.xack(LEDGER, GROUP, *ids)
        client.xdel(LEDGER, *ids)
    return len(entries)


def _store(entries: Entries) -> None:
    """Insert what the entries hold. What is no record, or one that the database will never take, is logged and passed
    over: it would come back for ever and hold up all that came with it. Raises DatabaseError when it is away."""
    records = [record for entry_id, fields in entries if fields and (record := _decoded(entry_id, fields))]
    try:
        write(records)
    except _NEVER:
        for record in records:
            try:
                write([record])
            except _NEVER as error:
                reason = type(error).__name__
                log.error("a record can't be stored", extra={"invocation_id": record.id, "reason": reason})


def _decoded(entry_id: bytes, fields: dict[bytes, bytes]) -> RunRecord | None:
    try:
        return RunRecord.from_bytes(fields[b"r"])
    except (struct.error, ValueError, TypeError, KeyError) as error:
        log.error("an entry is no record", extra={"entry": entry_id.decode(), "reason": type(error).__name__})
        return None


def write(records: list[RunRecord]) -> None:
    """Insert finished runs and their logs; those that are there already stay as they are."""
    with transaction.atomic():
        Invocation.objects.bulk_create([_row(r) for r in records], ignore_conflicts=True)
        printed = [_log_row(r) for r in records if r.logs]
        if printed:
            InvocationLog.objects.bulk_create(printed, ignore_conflicts=True)


def settle(client: Redis, *, bound_sec: float = 2.0) -> None:
    """Return when all that was appended before now is in the database, or after `bound_sec`: what makes "read it
    right after the answer" true."""
    newest = cast(Entries, client.xrevrange(LEDGER, count=1))
    if not newest:
        return
    target = _position(newest[0][0])
    until = time.monotonic() + bound_sec
    while time.monotonic() < until:
        oldest = cast(Entries, client.xrange(LEDGER, count=1))
        if not oldest or _position(oldest[0][0]) > target:
            return
        time.sleep(0.01)


def _position(entry_id: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence)


def _time(unix_ms: float) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC)


def _row(run: RunRecord) -> Invocation:
    return Invocation(
        id=run.id,
        request_id=run.request_id,
        function_id=run.function_id,
        function_name=run.function_name,
        runtime=run.runtime,
        version=run.version,
        owner_id=run.owner_id,
        caller_id=run.caller_id,
        alias_used=run.alias,
        environment=run.environment,
        trigger_type=run.trigger_type,
        session_key=run.session_key,
        status=run.status,
        fault=run.fault,
        input=run.input,
        output=run.output,
        error=run.error,
        error_type=run.error_type,
        stack_trace=run.stack_trace,
        start_kind=run.start_kind,
        attempt=1,
        worker_id=run.worker_id,
        created_at=_time(run.created_ms),
        started_at=None if run.started_ms is None else _time(run.started_ms),
        completed_at=_time(run.completed_ms),
        duration_ms=run.duration_ms,
        queue_ms=run.queue_ms,
        billed_time_ms=billed_ms(run.duration_ms) if run.started_ms is not None else 0,
        memory_used_mb=run.memory_used_mb,
    )


def _log_row(run: RunRecord) -> InvocationLog:
    return InvocationLog(
        invocation_id=run.id,
        function_id=run.function_id,
        lines=orjson.dumps(run.logs),
        created_at=_time(run.completed_ms),
    )
