"""What callers notice of a night's cleanup: warm calls without one, and while very many old rows are deleted."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg

from tests.bench.direct import Span
from tests.bench.figures import Figure
from tests.bench.handlers import HELLO
from tests.bench.load import Load
from tests.bench.stack import Stack

OLD_ROWS = 200_000
"""Runs, and as many logs."""
CALLERS = 8
DELETING_SEC = 10.0
"""At least: longer than a request deletes by itself."""
NOTICED = 2.0
"""Times the p99 without a cleanup."""

# Copies of one run and what it has printed, one a second from sixty days ago.
_AGE = "now() - interval '60 days' + make_interval(secs => n)"
_TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "logs": ("invocations_invocationlog", {"invocation_id": "gen_random_uuid()", "created_at": _AGE}),
    "invocations": (
        "invocations_invocation",
        {
            "id": "gen_random_uuid()",
            "function_name": "'old'",
            "created_at": _AGE,
            "started_at": _AGE,
            "completed_at": _AGE,
        },
    ),
}
"""By the names that the API has for them: the table, and in what a copy differs."""


def retention(stack: Stack, span: Span) -> list[Figure]:
    """The same burst before there are old rows, and while those of either table go."""
    seconds = max(2 * span.seconds, DELETING_SEC)
    stack.create("hello", HELLO)
    stack.create("chatty", 'def main(event):\n    print("so it went")\n    return event\n')
    stack.invoke("chatty")
    stack.settle()
    before = stack.load(callers=CALLERS, seconds=seconds)
    stack.settle()
    _make_old(stack)
    table = [Figure(f"retention: warm sync, {CALLERS} callers, no cleanup", _shown(before))]
    for name in _TABLES:
        table += _while_they_go(stack, name, before, seconds)
    return table


def _while_they_go(stack: Stack, name: str, before: Load, seconds: float) -> list[Figure]:
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        asked = pool.submit(stack.client.post, "/retention/cleanup", json={"tables": [name]})
        # The first seconds the web process that is asked deletes by itself, then a worker.
        during = stack.load(callers=CALLERS, seconds=seconds, warm_up=False)
        left = _old(stack, name)
        took = time.monotonic() - began
        assert asked.result().status_code == 202, asked.result().text
    assert left > 0, "all was deleted before the end of the burst"
    _drop_old(stack, name)
    share = during.quantile(0.99) / before.quantile(0.99)
    ok = share <= NOTICED and before.errors == during.errors == 0
    rows = f"{OLD_ROWS - left:,} of {OLD_ROWS:,} gone in {took:.0f} s, {(OLD_ROWS - left) / took:,.0f}/s"
    return [
        Figure(f"… while old {name} are deleted", f"{_shown(during)}; {rows}"),
        Figure("… p99 against none", f"{share:.2f} ×", f"≤ {NOTICED:g} ×, no error", ok),
    ]


def _make_old(stack: Stack) -> None:
    with psycopg.connect(stack.postgres.url("nimbus"), autocommit=True) as connection:
        for table, changed in _TABLES.values():
            listed = connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table]
            )
            columns = [name for (name,) in listed.fetchall()]
            values = ", ".join(changed.get(name, f'one."{name}"') for name in columns)
            names = ", ".join(f'"{name}"' for name in columns)
            source = f"(SELECT * FROM {table} ORDER BY created_at DESC LIMIT 1) one, generate_series(1, {OLD_ROWS}) n"
            connection.execute(f"INSERT INTO {table} ({names}) SELECT {values} FROM {source}".encode())
            # What autovacuum would do of itself, a minute later.
            connection.execute(f"VACUUM ANALYZE {table}".encode())
        connection.execute("CHECKPOINT")


_IS_OLD = "created_at < now() - interval '40 days'"


def _old(stack: Stack, name: str) -> int:
    with psycopg.connect(stack.postgres.url("nimbus")) as connection:
        told = connection.execute(f"SELECT count(*) FROM {_TABLES[name][0]} WHERE {_IS_OLD}".encode()).fetchone()
        return int(told[0]) if told else 0


def _drop_old(stack: Stack, name: str) -> None:
    """What is left, at once: whoever is at it finds nothing more."""
    with psycopg.connect(stack.postgres.url("nimbus")) as connection:
        connection.execute(f"DELETE FROM {_TABLES[name][0]} WHERE {_IS_OLD}".encode())


def _shown(load: Load) -> str:
    p50, p99 = load.quantile(0.5), load.quantile(0.99)
    return f"{load.per_sec:,.0f}/s, p50 {p50:.2f}, p99 {p99:.2f} ms, {load.errors} errors"
