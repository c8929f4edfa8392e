"""Executions of a workflow, started while parts of the platform are killed: each comes to its end, each of its calls is
made once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

EVERY = 40
"""Of the tokens, one that starts an execution too."""
ITEMS = 2
CODE = """
import time

def main(event, context):
    time.sleep(0.02)
    return sum(event) if isinstance(event, list) else event * event
"""
_CALL = {"Type": "Task", "Resource": "chaos-step", "End": True}
_EACH = {
    "Type": "Map",
    "ItemProcessor": {"StartAt": "Square", "States": {"Square": _CALL}},
    "Next": "Pause",
}
DEFINITION = {
    "StartAt": "Each",
    "States": {"Each": _EACH, "Pause": {"Type": "Wait", "Seconds": 1, "Next": "Sum"}, "Sum": _CALL},
}
OPEN = ("pending", "running")


class Asking(Protocol):
    def ask(self, method: str, path: str, *good: int, **more: Any) -> Any: ...

    def all_of(self, path: str, plural: str) -> list[dict[str, Any]]: ...


def create(client: Asking) -> None:
    body = {"name": "chaos-step", "runtime": "python3.11", "handler": "handler.main", "code": CODE, "memory_mb": 128}
    client.ask("POST", "/functions", 201, json=body)
    client.ask("POST", "/workflows", 201, json={"name": "chaos", "definition": DEFINITION})


def begin(client: Asking, token: int) -> None:
    """Its name makes it one, however often it is asked for. 409: an answer that got lost had started it, and it has
    ended since."""
    body = {"name": f"token-{token}", "input": list(range(token, token + ITEMS))}
    client.ask("POST", "/workflows/chaos/executions", 202, 409, json=body)


def have_ended(client: Asking) -> bool:
    asked = [client.ask("GET", "/executions", 200, params={"status": status, "limit": "0"}) for status in OPEN]
    return not any(answer["total"] for answer in asked)


def check(client: Asking, tokens: Sequence[int]) -> None:
    rows = {row["name"]: row for row in client.all_of("/workflows/chaos/executions", "executions")}
    assert set(rows) == {f"token-{token}" for token in tokens}
    print(dict(Counter(row["status"] for row in rows.values())), "executions")
    assert [row for token in tokens if not _is_right(row := rows[f"token-{token}"], token)] == []
    succeeded = sum(row["status"] == "succeeded" for row in rows.values())
    calls = client.ask("GET", "/functions/chaos-step/invocations", 200, params={"limit": "0"})["total"]
    least, most = succeeded * (ITEMS + 1), len(rows) * (ITEMS + 1)
    assert least <= calls <= most, "a call was made twice, or not at all"


def _is_right(row: dict[str, Any], token: int) -> bool:
    """Its call may also have lost too many workers."""
    if row["status"] == "failed":
        return bool(row["error_code"] == "WorkerLost")
    return bool(row["status"] == "succeeded" and row["output"] == sum(n * n for n in range(token, token + ITEMS)))
