"""An outage is told as one; a mistake of ours is not."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import psycopg_pool
import pytest
import redis.exceptions
from django.db import DataError, InterfaceError, OperationalError, ProgrammingError

from nimbus_project.core.unforeseen import answer_to, outage_of


def wrapped(cause: BaseException, kind: type[Exception] = OperationalError) -> Exception:
    """As Django raises it."""
    error = kind(*cause.args)
    error.__cause__ = cause
    return error


def sqlite_error(statement: str, database: str = ":memory:") -> sqlite3.Error:
    with pytest.raises(sqlite3.Error) as caught:
        sqlite3.connect(database).execute(statement)
    return caught.value


@pytest.mark.parametrize(
    "cause",
    [
        psycopg.OperationalError("connection refused"),
        psycopg_pool.PoolTimeout("couldn't get a connection after 5.00 sec"),
        psycopg.errors.AdminShutdown("terminating connection"),
        psycopg.errors.TooManyConnections("sorry, too many clients already"),
        psycopg.errors.DeadlockDetected("deadlock detected"),
        psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT in a read-only transaction"),
    ],
)
def test_postgresql_away(cause: BaseException) -> None:
    found = outage_of(wrapped(cause))
    assert found is not None and found.error_code == "unavailable" and found.http_status == 503
    assert found.headers()["Retry-After"]


def test_a_connection_lost_under_way() -> None:
    assert outage_of(wrapped(psycopg.InterfaceError("the connection is closed"), InterfaceError))


def test_sqlite_away(tmp_path: Path) -> None:
    assert outage_of(wrapped(sqlite_error("SELECT 1 FROM x", str(tmp_path))))
    database = str(tmp_path / "db")
    with sqlite3.connect(database) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        other = sqlite3.connect(database, timeout=0)
        with pytest.raises(sqlite3.OperationalError) as caught:
            other.execute("BEGIN EXCLUSIVE")
        assert outage_of(wrapped(caught.value))
        other.close()


@pytest.mark.parametrize(
    "error",
    [
        wrapped(sqlite_error("SELECT 1 FROM nowhere")),
        wrapped(sqlite_error("SELEC 1")),
        wrapped(psycopg.errors.UndefinedTable("no such table"), ProgrammingError),
        wrapped(psycopg.errors.NumericValueOutOfRange("integer out of range"), DataError),
        redis.exceptions.ResponseError("WRONGTYPE"),
        ValueError("x"),
    ],
    ids=str,
)
def test_a_mistake_of_ours(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    assert outage_of(error) is None
    answer = answer_to(error, "/somewhere")
    assert (answer.http_status, answer.error_code) == (500, "internal_error")
    assert str(error) not in answer.message
    assert "unhandled exception" in caplog.text and caplog.records[0].exc_info


def test_redis_away(caplog: pytest.LogCaptureFixture) -> None:
    for error in (redis.exceptions.ConnectionError("x"), redis.exceptions.TimeoutError("x")):
        assert answer_to(error, "/").error_code == "unavailable"
    assert not any(record.exc_info for record in caplog.records)
