"""What is measured of the platform, figure by figure."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass

import httpx

from tests.bench.handlers import HELLO
from tests.bench.load import quantile
from tests.bench.stack import Stack
from tests.services import wait_until

ASYNC = "/api/v1/functions/{}/async"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `ok` is None where there is no bar."""

    name: str
    value: str
    bar: str = ""
    ok: bool | None = None


def first_calls(stack: Stack, *, times: int) -> list[float]:
    """First calls of new functions, each with a prewarmed sandbox waiting; ms as the caller sees it."""
    took = []
    for number in range(times):
        stack.create(f"fresh-{number}", HELLO)
        stack.wait_calm()
        began = time.perf_counter()
        answer = stack.invoke(f"fresh-{number}")
        took.append((time.perf_counter() - began) * 1000)
        assert answer.json()["start_kind"] == "prewarmed", answer.text
        stack.delete(f"fresh-{number}")
    return took


def cold_calls(stack: Stack, *, times: int) -> list[float]:
    """First calls with no sandbox there at all; ms. The stack keeps no stock."""
    took = []
    for number in range(times):
        stack.create(f"cold-{number}", HELLO)
        began = time.perf_counter()
        answer = stack.invoke(f"cold-{number}")
        took.append((time.perf_counter() - began) * 1000)
        assert answer.json()["start_kind"] == "cold", answer.text
        stack.delete(f"cold-{number}")
    return took


def accept(stack: Stack, *, count: int) -> list[float]:
    """`/async` from one caller until all are accepted; ms each."""
    took = []
    with httpx.Client(base_url=f"http://127.0.0.1:{stack.port}", headers=stack.client.headers) as client:
        for _ in range(count):
            began = time.perf_counter()
            answer = client.post(ASYNC.format("hello"), json={"name": "Nimbus"})
            stack.answers["hello"] += 1
            took.append((time.perf_counter() - began) * 1000)
            assert answer.status_code == 202, answer.text
    return took


def drain_rate(stack: Stack, *, count: int) -> float:
    """Queued invocations per second, from the first accepted of `count` until the last has ended."""
    began = time.perf_counter()
    accepted = 0
    while accepted < count:
        load = stack.load(path=ASYNC, callers=8, seconds=1.0, warm_up=False)
        assert load.errors == 0, load.statuses
        accepted += load.count
    wait_until(lambda: _unfinished(stack) == 0, 120, "the queue is empty")
    return accepted / (time.perf_counter() - began)


def _unfinished(stack: Stack) -> int:
    return sum(
        int(stack.client.get("/invocations", params={"status": status, "limit": 1}).json()["total"])
        for status in ("pending", "running")
    )


def sandbox_mb(stack: Stack) -> float:
    """Memory of one idle sandbox, as the engine counts it."""
    listed = ["docker", "ps", "-q", "--filter", f"label=nimbus.run={stack.folder / 'var' / 'run'}"]
    ids = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()
    told = ["docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", *ids]
    lines = subprocess.run(told, check=True, capture_output=True, text=True).stdout.split("\n")
    return quantile([_mib(line.split("/")[0].strip()) for line in lines if line], 0.5)


def _mib(text: str) -> float:
    for unit, factor in (("GiB", 1024.0), ("MiB", 1.0), ("KiB", 1 / 1024)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return 0.0
