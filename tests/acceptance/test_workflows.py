"""Workflows on a whole platform: a state after the other over HTTP, and whatever dies, each execution comes to its end
with each of its calls made once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.acceptance.caller import Caller
from tests.platform import Platform, PlatformOptions
from tests.services import wait_until

COUNT = 40
ITEMS = 5
WITHIN_SEC = 60.0
OPEN = ("pending", "running")

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.parametrize(
        "platform", [PlatformOptions(), PlatformOptions(database="sqlite")], indirect=True, ids=["auto", "sqlite"]
    ),
]

SQUARE = """
import time

def main(event, context):
    time.sleep(event.get("sec", 0))
    return event["n"] ** 2
"""

EACH = {
    "Type": "Map",
    "ItemsPath": "$.numbers",
    "ItemSelector": {"n.$": "$$.Map.Item.Value", "sec.$": "$.sec"},
    "ItemProcessor": {"StartAt": "Square", "States": {"Square": {"Type": "Task", "Resource": "square", "End": True}}},
    "ResultPath": "$.squares",
    "Next": "Pause",
}
STATES = {
    "Each": EACH,
    "Pause": {"Type": "Wait", "Seconds": 1, "Next": "Sum"},
    "Sum": {
        "Type": "Task",
        "Resource": "total",
        "InputPath": "$.squares",
        "Retry": [{"ErrorEquals": ["States.ALL"], "MaxAttempts": 0}],
        "End": True,
    },
}
TOTAL = "def main(event, context):\n    return sum(event)\n"


@pytest.fixture
def made(caller: Caller) -> Caller:
    """Its functions and the workflow that calls them."""
    caller.create("square", SQUARE, memory_mb=128)
    caller.create("total", TOTAL, memory_mb=128)
    caller.http.delete("/workflows/squares")
    answer = caller.http.post(
        "/workflows", json={"name": "squares", "definition": {"StartAt": "Each", "States": STATES}}
    )
    assert answer.status_code == 201, answer.text
    return caller


def begin(caller: Caller, number: int, sec: float = 0.0) -> str:
    event = {"numbers": list(range(number, number + ITEMS)), "sec": sec}
    answer = caller.http.post("/workflows/squares/executions", json={"input": event})
    assert answer.status_code == 202, answer.text
    accepted: str = answer.json()["id"]
    return accepted


def execution(caller: Caller, reference: str) -> dict[str, Any]:
    answer = caller.http.get(f"/executions/{reference}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def expected(number: int) -> int:
    return sum(n**2 for n in range(number, number + ITEMS))


def test_from_its_start_to_its_output(made: Caller) -> None:
    reference = begin(made, 3)
    wait_until(lambda: execution(made, reference)["status"] not in OPEN, WITHIN_SEC, "its end")
    row = execution(made, reference)
    assert (row["status"], row["output"]) == ("succeeded", expected(3)), row
    steps = made.http.get(f"/executions/{reference}/history").json()
    steps = steps["steps"] if "steps" in steps else steps["history"]
    assert [step["state_name"] for step in steps] == ["Each", *["Square"] * ITEMS, "Pause", "Sum"]
    call = made.get(steps[1]["invocation_id"])
    assert (call["trigger_type"], call["status"], call["output"]) == ("workflow", "success", 9)


@pytest.mark.parametrize("victim", ["worker", "redis"])
def test_killed_in_the_middle(made: Caller, platform: Platform, victim: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda number: begin(made, number, 0.1), range(COUNT)))

    def in_the_middle() -> bool:
        calls = made.statuses("square")
        assert calls.get("success", 0) < COUNT * ITEMS, "too fast to be caught in the middle"
        return calls.get("success", 0) >= 20 and calls.get("running", 0) >= 1

    wait_until(in_the_middle, WITHIN_SEC, "the first calls to end")
    if victim == "worker":
        platform.worker.kill9()
        platform.worker.start()
    else:
        platform.redis.kill9()
        platform.start_redis()
    wait_until(lambda: made.statuses("total").get("success", 0) == COUNT, WITHIN_SEC, "all of them to end")
    wait_until(lambda: not any(execution(made, one)["status"] in OPEN for one in ids), WITHIN_SEC, "their ends")
    assert [execution(made, one)["output"] for one in ids] == [expected(number) for number in range(COUNT)]
    # A step that was lost with its worker is the same invocation, tried again.
    assert (len(made.all_of("square")), len(made.all_of("total"))) == (COUNT * ITEMS, COUNT)
