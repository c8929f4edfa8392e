"""The database or Redis away, as this process's log tells it: when it begins and when it is over.

Whoever tries again has an outage of its own, which says what waits meanwhile. All else that meets a server that is
away (requests that are refused, tasks of the clock, Celery, django-celery-beat, psycopg's pool) would write a line or a
traceback for each try; these two say it for all of them, with how often each has met it.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping

import redis.exceptions

from nimbus_project.core.outage import Outage

log = logging.getLogger("nimbus.away")

_FORGOTTEN_SEC = 60.0
"""A try that ends late may meet an outage again whose end was told: nobody will tell another one."""

DATABASE = Outage(log, "the database can't be reached", forgotten_sec=_FORGOTTEN_SEC)
"""Over when a connection is made (`core/postgres.py`)."""
REDIS = Outage(log, "Redis can't be reached", forgotten_sec=_FORGOTTEN_SEC)
"""Over when what this process asks it all the time is answered."""

# SQLSTATE: connection lost, no resources for one, shutting down or starting up. What a statement alone may meet (a
# deadlock, a cancellation) is no outage.
_GONE = ("08", "53", "57P")
_REDIS = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)
_POOL = "psycopg.pool"
_REQUESTS, _REFUSED = "django.request", 503
# Said of each connection beside the error itself, without it.
_BESIDE = ("reconnection attempt in pool", "discarding closed connection", "discarding broken connection")
_CAUSES = 5


def server_of(error: BaseException) -> Outage | None:
    """Which server's absence is the cause of an error; None for all else, and for SQLite."""
    for cause in _causes(error):
        if isinstance(cause, _REDIS):
            return REDIS
        if _is_postgres_gone(cause):
            return DATABASE
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(_CAUSES):
        if error is None:
            return
        yield error
        error = error.__cause__


def _is_postgres_gone(error: BaseException) -> bool:
    # Where nobody has loaded the driver there are none of its errors, and no need for its megabytes.
    driver = sys.modules.get("psycopg")
    if driver is None or not isinstance(error, (driver.OperationalError, driver.InterfaceError)):
        return False
    # None: the server said nothing, for it was never reached or hung up.
    state: str | None = error.sqlstate
    return state is None or state.startswith(_GONE)


class OutageFilter(logging.Filter):
    """On the way to the log: a record about a server that is away is counted instead."""

    def filter(self, record: logging.LogRecord) -> bool:
        if _is_beside(record):
            return False
        error = _error_of(record)
        server = None if error is None else server_of(error)
        if error is None or server is None or record.levelno >= logging.CRITICAL:
            return True  # what is critical, the end of a process above all, is news whatever its cause
        server.began(error, _who(record))
        return False


def _is_beside(record: logging.LogRecord) -> bool:
    """Said once more, of what is told otherwise: by the pool, and by Django of each answer that refuses a request."""
    if record.name == _POOL:
        return str(record.msg).startswith(_BESIDE)
    return record.name == _REQUESTS and getattr(record, "status_code", 0) == _REFUSED and not record.exc_info


def _error_of(record: logging.LogRecord) -> BaseException | None:
    """With its traceback, or as one of the arguments."""
    if record.exc_info and record.exc_info[1] is not None:
        return record.exc_info[1]
    given = record.args.values() if isinstance(record.args, Mapping) else record.args or ()
    return next((arg for arg in given if isinstance(arg, BaseException)), None)


def _who(record: logging.LogRecord) -> str:
    """Our own messages are constant; Celery tells the task that failed."""
    if record.name.startswith("nimbus."):
        return str(record.msg)
    task = record.args.get("name") if isinstance(record.args, Mapping) else None
    return str(task or record.name)
