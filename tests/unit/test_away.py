"""What the log says of a server that is away: two lines for all that meet it, nothing less of all else."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from typing import Any

import psycopg
import psycopg_pool
import pytest
import redis.exceptions
from celery.exceptions import OperationalError as BrokerAway
from django.db import OperationalError, ProgrammingError

from nimbus_project.core.away import DATABASE, REDIS, OutageFilter, server_of
from nimbus_project.core.errors import Unavailable
from nimbus_project.core.outage import TOLD_EVERY_SEC, Outage
from nimbus_project.core.unforeseen import REFUSED, answer_to

log = logging.getLogger("nimbus.test_away")


class Lines(logging.Handler):
    """What an operator reads: message and what was counted."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(OutageFilter())
        self.told: list[tuple[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append((record.getMessage(), getattr(record, "by", None)))


def _forget(server: Outage) -> None:
    server.ended()
    server._told_at = None


@pytest.fixture
def lines() -> Iterator[Lines]:
    _forget(DATABASE)
    _forget(REDIS)
    handler = Lines()
    # In place of what Django has set up, which would count too. These go no further than to their own handlers.
    loggers = [logging.getLogger(), logging.getLogger("celery"), logging.getLogger("django.request")]
    before = [logger.handlers for logger in loggers]
    for logger in loggers:
        logger.handlers = [handler]
    yield handler
    for logger, handlers in zip(loggers, before, strict=True):
        logger.handlers = handlers
    _forget(DATABASE)
    _forget(REDIS)


def caused(error: Exception, *causes: BaseException) -> Exception:
    last: BaseException = error
    for cause in causes:
        last.__cause__ = cause
        last = cause
    return error


LOST = psycopg.OperationalError("the connection is lost")
NOBODY = redis.exceptions.ConnectionError("Error 111")


@pytest.mark.parametrize(
    ("error", "server"),
    [
        (caused(OperationalError("x"), LOST), DATABASE),
        (caused(OperationalError("x"), psycopg_pool.PoolTimeout("no connection after 5.00 sec")), DATABASE),
        (psycopg.errors.AdminShutdown("terminating connection"), DATABASE),
        (psycopg.errors.TooManyConnections("sorry, too many clients already"), DATABASE),
        (psycopg.InterfaceError("the connection is closed"), DATABASE),
        (NOBODY, REDIS),
        (redis.exceptions.BusyLoadingError("loading"), REDIS),
        (caused(Unavailable("x"), NOBODY), REDIS),
        (caused(BrokerAway("x"), NOBODY), REDIS),
        # What a statement met.
        (caused(OperationalError("x"), psycopg.errors.DeadlockDetected("deadlock detected")), None),
        (caused(OperationalError("x"), psycopg.errors.QueryCanceled("canceling statement")), None),
        (caused(ProgrammingError("x"), psycopg.errors.UndefinedTable("no such table")), None),
        (caused(OperationalError("x"), sqlite3.OperationalError("database is locked")), None),
        (redis.exceptions.ResponseError("WRONGTYPE"), None),
        (ConnectionRefusedError("another server"), None),
    ],
    ids=repr,
)
def test_whose_absence_it_is(error: Exception, server: Outage | None) -> None:
    assert server_of(error) is server


def test_an_error_that_causes_itself_ends() -> None:
    error = ValueError("x")
    error.__cause__ = error
    assert server_of(error) is None


def test_all_that_is_said_of_one_outage_is_two_lines(lines: Lines) -> None:
    pool = logging.getLogger("psycopg.pool")
    for _ in range(30):
        # As psycopg's pool, celery.app.trace and code of ours say it.
        pool.warning("error connecting in %r: %s", "pool-1", LOST)
        pool.warning("reconnection attempt in pool %r failed after %s sec", "pool-1", 5)
        pool.warning("discarding closed connection: %s", "<psycopg.Connection [BAD]>")
        context = {"name": "nimbus.fan_out", "id": "1", "exc": repr(LOST)}
        error = (OperationalError, caused(OperationalError("x"), LOST), None)
        logging.getLogger("celery.app.trace").error("Task %(name)s[%(id)s]: %(exc)s", context, exc_info=error)
        log.error("a schedule can't be fired now", exc_info=error)
        assert answer_to(error[1], "/api/v1/events").http_status == 503
        said = {"status_code": 503, "request": "<ASGIRequest>"}
        logging.getLogger("django.request").error("Service Unavailable: /api/v1/events", extra=said)
    DATABASE.ended()
    counted = {"psycopg.pool": 30, "nimbus.fan_out": 30, "a schedule can't be fired now": 30, REFUSED: 30}
    assert lines.told == [
        ("the database can't be reached", {"psycopg.pool": 1}),
        ("over: the database can't be reached", counted),
    ]


def test_what_has_another_reason_is_told_each_time(lines: Lines) -> None:
    for _ in range(2):
        log.error("a bug", exc_info=(ValueError, ValueError("x"), None))
        log.warning("one of %s was not delivered: %s", "many", ValueError("x"))
        log.warning("no error at all")
        locked = caused(OperationalError("x"), sqlite3.OperationalError("database is locked"))
        log.error("not stored", exc_info=(OperationalError, locked, None))
        logging.getLogger("django.request").error("Internal Server Error", extra={"status_code": 500})
        logging.getLogger("psycopg.pool").warning("rolling back returned connection: %s", "x")
    assert [text for text, _ in lines.told] == 2 * [
        "a bug",
        "one of many was not delivered: x",
        "no error at all",
        "not stored",
        "Internal Server Error",
        "rolling back returned connection: x",
    ]


def test_many_different_things_do_not_fill_the_line(lines: Lines) -> None:
    for number in range(100):
        REDIS.began(NOBODY, f"thing {number}")
    REDIS.ended()
    assert len(lines.told[-1][1]) == 20


def test_an_outage_that_nobody_saw_end_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    outage = Outage(log, "it can't be done", lambda: now[0], forgotten_sec=60)
    outage.began(NOBODY)
    outage.ended()
    # A try that had begun before.
    now[0] = 1.0
    outage.began(NOBODY)
    now[0] = 3600.0
    outage.began(NOBODY)
    now[0] += TOLD_EVERY_SEC
    outage.began(NOBODY)
    outage.ended()
    told = [(record.getMessage(), getattr(record, "lasted_sec", None), record.times) for record in caplog.records]  # type: ignore[attr-defined]
    assert told == [
        ("it can't be done", None, 1),
        ("over: it can't be done", 0.0, 1),
        ("it can't be done", None, 1),
        ("it can't be done", None, 2),
        ("over: it can't be done", TOLD_EVERY_SEC, 2),
    ]


def test_what_is_critical_is_told_whatever_its_cause(lines: Lines) -> None:
    """As Celery's worker says why it ends."""
    logging.getLogger("celery").critical("Unrecoverable error: %r", NOBODY, exc_info=NOBODY)
    assert [told for told, _ in lines.told] == [f"Unrecoverable error: {NOBODY!r}"]
