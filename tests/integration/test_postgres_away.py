"""A real PostgreSQL that is stopped for a while: what the pool of a process writes to the log meanwhile."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg_pool
import pytest

from nimbus_project.core.away import DATABASE, OutageFilter
from nimbus_project.core.postgres import TellingConnection
from tests.requirements import require
from tests.services import PostgresServer, wait_until


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One that may be stopped: that of the run is everybody's."""
    require("postgres", PostgresServer.missing())
    with tempfile.TemporaryDirectory(prefix="nimbus-test-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        server = PostgresServer(folder / "pg")
        server.start()
        try:
            yield server
        finally:
            server.stop()


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.addFilter(OutageFilter())
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def lines() -> Iterator[Lines]:
    DATABASE.ended()
    DATABASE._told_at = None
    handler, root = Lines(), logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    DATABASE.ended()
    DATABASE._told_at = None


def test_its_end_and_its_return_are_one_line_each(server: PostgresServer, lines: Lines) -> None:
    seen = logging.getLogger("psycopg.pool")
    tries = _Counting()
    seen.addHandler(tries)
    pool = psycopg_pool.ConnectionPool(
        server.url("postgres"),
        min_size=4,
        max_size=8,
        timeout=1,
        reconnect_timeout=1,
        connection_class=TellingConnection,
        open=False,
    )
    with pool:
        pool.wait(30)
        server.stop()
        deadline = time.monotonic() + 60
        while tries.count < 20 and time.monotonic() < deadline:
            with pytest.raises(Exception), pool.connection(0.2) as connection:  # noqa: B017  of many kinds
                connection.execute("SELECT 1")
        server.start()
        wait_until(lambda: _answers(pool), 30, "the pool's connections are back")
    seen.removeHandler(tries)
    assert tries.count >= 20
    assert [record.getMessage() for record in lines.records] == [
        "the database can't be reached",
        "over: the database can't be reached",
    ]
    last = lines.records[-1]
    assert last.lasted_sec > 0 and last.by["psycopg.pool"] > 4  # type: ignore[attr-defined]


class _Counting(logging.Handler):
    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += record.levelno >= logging.WARNING


def _answers(pool: psycopg_pool.ConnectionPool) -> bool:
    try:
        with pool.connection(1) as connection:
            return bool(connection.execute("SELECT 1").fetchone())
    except psycopg_pool.PoolTimeout:
        return False
