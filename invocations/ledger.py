"""The ledger: finished synchronous runs, from the worker's journal to the database, off the caller's time.

A worker writes the record to its journal before it sends the answer (`journal.py`): no answer is sent whose record
could be lost with the worker. Each worker's scribe takes records in batches and inserts them; inserting twice changes
nothing.
"""

from __future__ import annotations

import logging
import time
from typing import Any, cast

import orjson
from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, ProgrammingError, connection, transaction
from django.db.models import Model
from redis import Redis

from invocations import rows
from invocations.models import Invocation, InvocationLog
from invocations.record import RunRecord
from nimbus_project.config import config
from nimbus_project.core.ids import new_id
from nimbus_project.core.redis import CONTROL, SETTLED

log = logging.getLogger("nimbus.ledger")

SETTLED_KEPT_SEC = 10

# Trying again does not help: a value out of range, too long or of the wrong kind.
_NEVER = (DataError, IntegrityError, ValidationError, ValueError, TypeError, OverflowError)


def store(heading: bytes, lines: bytes) -> None:
    """Insert what lines of a journal hold; those that are there already stay as they are. What the database will never
    take is logged and passed over: it would come back for ever and hold up all that came with it. Raises DatabaseError
    when it is away."""
    columns = heading.decode().strip()
    runs, logs = rows.split(lines)
    _store(Invocation, columns, runs)
    if logs:
        _store(InvocationLog, rows.LOG_COLUMNS, logs)


def write(records: list[RunRecord]) -> None:
    """As `store`, without a journal."""
    if records:
        most = config().kept_payload_bytes
        store(rows.HEADING, b"".join(rows.lines_of(record, most) for record in records))


def _store(model: type[Model], columns: str, lines: bytes) -> None:
    if connection.vendor == "postgresql":
        try:
            _copy(rows.copy(model, columns), lines)
            return
        except (IntegrityError, DataError, ProgrammingError):
            # Some are there already, for a journal is being read again; or one of them is bad.
            pass
    parsed = [row for line in lines.splitlines(keepends=True) if (row := _parsed(model, columns, line)) is not None]
    try:
        _insert(model, parsed)
    except _NEVER:
        for row in parsed:
            try:
                _insert(model, [row])
            except _NEVER as error:
                log.error("a record can't be stored", extra={"record": str(row.pk), "reason": type(error).__name__})


def _copy(statement: str, lines: bytes) -> None:
    # `copy` is the driver's own, and so would be its errors.
    with transaction.atomic(), connection.cursor() as cursor, connection.wrap_database_errors:
        with cast(Any, cursor).copy(statement) as copy:
            copy.write(lines)


def _insert(model: type[Model], parsed: list[Model]) -> None:
    with transaction.atomic():
        model._default_manager.bulk_create(parsed, ignore_conflicts=True)


def _parsed(model: type[Model], columns: str, line: bytes) -> Model | None:
    try:
        return rows.parse(model, columns, line)
    except (*_NEVER, KeyError) as error:
        log.error("a line of a journal is no record", extra={"reason": type(error).__name__})
        return None


def settle(client: Redis, *, bound_sec: float = 2.0) -> None:
    """Return when all that was answered before now is in the database, or after `bound_sec`: what makes "read it right
    after the answer" true. Each living worker is asked, and says so. Raises RedisError."""
    key = SETTLED + new_id().hex
    heard = cast(int, client.publish(CONTROL, orjson.dumps({"settle": key})))
    until = time.monotonic() + bound_sec
    while heard > 0 and (left := until - time.monotonic()) > 0:
        if client.blpop([key], timeout=left) is None:
            return
        heard -= 1


def tell_settled(client: Redis, key: str) -> None:
    """A worker's answer to `settle`. Raises RedisError."""
    pipeline = client.pipeline(transaction=False)
    pipeline.rpush(key, b"1")
    pipeline.expire(key, SETTLED_KEPT_SEC)
    pipeline.execute()
