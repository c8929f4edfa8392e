"""A journal that is read again, as after its worker's death, changes nothing and stops nobody."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, connection

from invocations import ledger
from invocations.models import Invocation
from invocations.record import RunRecord
from nimbus_project.core.ids import new_id

pytestmark = pytest.mark.usefixtures("transactional_db")


def run(**changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "id": str(new_id()),
        "request_id": "r-1",
        "function_id": str(new_id()),
        "function_name": "hello",
        "runtime": "python3.11",
        "version": 1,
        "status": "success",
        "created_ms": 1_700_000_000_000.0,
        "completed_ms": 1_700_000_000_020.0,
        "duration_ms": 9.5,
        "logs": [(1, "stdout", "hi")],
    }
    return RunRecord(**values | changes)


def test_runs_that_are_there_and_runs_that_are_not() -> None:
    first, second = run(), run()
    ledger.write([first])
    ledger.write([run(id=first.id, status="failed"), second])
    ledger.write([first, second])
    assert {str(row.pk): row.status for row in Invocation.objects.all()} == {
        first.id: "success",
        second.id: "success",
    }


def test_what_the_database_says_is_said_in_djangos_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever calls tells an outage by the class of the error."""
    if connection.vendor != "postgresql":
        pytest.skip("other: SQLite stores through Django alone")
    monkeypatch.setattr("invocations.rows.copy", lambda *_: "SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(DatabaseError):
        ledger.write([run()])
    connection.close()
