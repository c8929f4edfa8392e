"""Workflows beside the queue that carries their calls, in one run: a chain of states, and Maps whose items run beside
one another."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from tests.bench import figures
from tests.bench.figures import Figure
from tests.bench.handlers import HELLO
from tests.bench.load import quantile
from tests.bench.stack import Stack
from tests.services import wait_until

CHAIN = 10
ITEMS = 40
OPEN = ("pending", "running")


def workflows(stack: Stack, quick: bool) -> list[Figure]:
    stack.create("hello", HELLO)
    stack.invoke("hello")
    one_ms = quantile([_async_ms(stack) for _ in range(20 if quick else 100)], 0.5)
    rate = figures.drain_rate(stack, count=300 if quick else 1000)
    _create(stack, "chain", _chain())
    _create(stack, "each", _each())
    took = [_execution_ms(stack, "chain", {"name": "Nimbus"}) / CHAIN for _ in range(5 if quick else 20)]
    step_ms = quantile(took, 0.5)
    calls_per_sec = _maps(stack, 5 if quick else 20)
    return [
        Figure("floor: one queued invocation, from its request to its end", f"p50 {one_ms:.1f} ms"),
        Figure("floor: queued invocations", f"{rate:.0f}/s"),
        Figure(f"workflow: a Task of a chain of {CHAIN}", f"p50 {step_ms:.1f} ms, {step_ms / one_ms:.2f} × queued"),
        Figure(f"workflow: Tasks of Maps of {ITEMS}", f"{calls_per_sec:.0f}/s, {calls_per_sec / rate:.2f} × queued"),
    ]


def _async_ms(stack: Stack) -> float:
    accepted = stack.client.post("/functions/hello/async", json={"name": "Nimbus"}).json()
    stack.answers["hello"] += 1
    return _took_ms(_ended(stack, f"/invocations/{accepted['invocation_id']}"))


def _ended(stack: Stack, path: str) -> dict[str, Any]:
    """Its record. Looked for seldom: who looks takes the time of who works."""
    wait_until(lambda: stack.client.get(path).json()["status"] not in OPEN, 60, "its end")
    row: dict[str, Any] = stack.client.get(path).json()
    return row


def _took_ms(row: dict[str, Any]) -> float:
    """From its acceptance to its end."""
    began, ended = (datetime.fromisoformat(row[name]) for name in ("created_at", "completed_at"))
    return (ended - began).total_seconds() * 1000


def _start(stack: Stack, name: str, given: Any) -> str:
    answer = stack.client.post(f"/workflows/{name}/executions", json={"input": given})
    assert answer.status_code == 202, answer.text
    reference: str = answer.json()["id"]
    return reference


def _execution_ms(stack: Stack, name: str, given: Any) -> float:
    row = _ended(stack, f"/executions/{_start(stack, name, given)}")
    assert row["status"] == "succeeded", row
    stack.answers["hello"] += CHAIN
    return _took_ms(row)


def _maps(stack: Stack, count: int) -> float:
    began = time.perf_counter()
    started = [_start(stack, "each", [{"name": str(n)} for n in range(ITEMS)]) for _ in range(count)]

    for one in started:
        assert _ended(stack, f"/executions/{one}")["status"] == "succeeded"
    stack.answers["hello"] += count * ITEMS
    return count * ITEMS / (time.perf_counter() - began)


def _create(stack: Stack, name: str, states: dict[str, Any]) -> None:
    definition = {"StartAt": next(iter(states)), "States": states}
    answer = stack.client.post("/workflows", json={"name": name, "definition": definition})
    assert answer.status_code == 201, answer.text


def _chain() -> dict[str, Any]:
    task = {"Type": "Task", "Resource": "hello", "ResultPath": None}
    last = {"End": True}
    return {f"S{n}": task | ({"Next": f"S{n + 1}"} if n + 1 < CHAIN else last) for n in range(CHAIN)}


def _each() -> dict[str, Any]:
    call = {"Type": "Task", "Resource": "hello", "End": True}
    return {"Each": {"Type": "Map", "ItemProcessor": {"StartAt": "Call", "States": {"Call": call}}, "End": True}}
