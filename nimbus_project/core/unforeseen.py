"""Exceptions that nobody foresaw -> what the caller is told, and what the log."""

from __future__ import annotations

import logging
import sqlite3

import redis.exceptions
from django.db import InterfaceError, OperationalError

from nimbus_project.core.away import server_of
from nimbus_project.core.errors import NimbusError, Unavailable

log = logging.getLogger("nimbus.unforeseen")

REFUSED = "requests refused"
"""What an outage counts for each answer."""

# SQLSTATE classes and codes under which PostgreSQL is not there for the moment, or asks to be tried again: connection
# lost, resources, shutdown and cancelled, system, deadlock; a standby's "read only" and a lock not had in time.
_PASSING_CLASSES = ("08", "53", "57", "58", "40")
_PASSING_CODES = frozenset({"25006", "55P03"})
_PASSING_SQLITE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)
_PASSING_REDIS = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, redis.exceptions.ReadOnlyError)


def answer_to(error: BaseException, path: str) -> NimbusError:
    """Unavailable for an outage of the database or Redis, of which the log tells the begin and the end; else an
    internal error, logged with its traceback, of which the caller sees nothing."""
    away = outage_of(error)
    if away is not None:
        server = server_of(error)
        if server is not None:
            server.began(error, REFUSED)
        else:
            log.warning(away.message, extra={"path": path, "cause": str(error).strip()[:200]})
        return away
    log.error("unhandled exception", exc_info=error, extra={"path": path})
    return NimbusError(
        "Something went wrong inside Nimbus. The log has the details under this request id.", code="internal_error"
    )


def outage_of(error: BaseException) -> Unavailable | None:
    """What to answer when the error says that the database or Redis is away; None for a mistake of ours."""
    if isinstance(error, OperationalError | InterfaceError) and _is_passing(error.__cause__ or error):
        return Unavailable("The database can't be reached right now. Try again in a moment.")
    if isinstance(error, _PASSING_REDIS):
        return Unavailable("The queue (Redis) can't be reached right now. Try again in a moment.")
    return None


def _is_passing(cause: BaseException) -> bool:
    if isinstance(cause, sqlite3.Error):
        # The lowest byte of an extended code is the plain one (sqlite.org/rescode.html).
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _PASSING_SQLITE
    # None: the server said nothing, for it was never reached or hung up.
    state: str | None = getattr(cause, "sqlstate", None)
    return state is None or state.startswith(_PASSING_CLASSES) or state in _PASSING_CODES
