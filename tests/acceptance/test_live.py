"""Lines of a run while it runs: read, and streamed as Server-Sent Events."""

from __future__ import annotations

import pytest

from tests.acceptance.caller import Caller, events
from tests.platform import PlatformOptions
from tests.services import wait_until

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.parametrize("platform", [PlatformOptions()], indirect=True, ids=["process"]),
]

TALKS = """
import sys, time

def main(event):
    for n in range(event["lines"]):
        print("line", n, flush=True)
        if n == event.get("pause_after"):
            time.sleep(event["sec"])
    print("end", file=sys.stderr)
    return event["lines"]
"""


@pytest.fixture(autouse=True)
def _talks(caller: Caller) -> None:
    caller.create("talks", TALKS, memory_mb=128)


def lines(count: int) -> list[str]:
    return [*(f"line {n}" for n in range(count)), "end"]


def test_lines_can_be_read_before_the_run_ends(caller: Caller) -> None:
    reference = caller.send("talks", {"lines": 3, "pause_after": 1, "sec": 4})
    wait_until(lambda: caller.lines(reference) == ["line 0", "line 1"], 30, "the first two lines")
    assert caller.get(reference)["status"] == "running"
    caller.ended(reference)
    assert caller.lines(reference) == lines(3)


def test_a_stream_has_each_line_once_and_then_the_end(caller: Caller) -> None:
    reference = caller.send("talks", {"lines": 5, "pause_after": 1, "sec": 4})
    with events(caller, f"/invocations/{reference}/stream") as stream:
        wait_until(lambda: stream.messages() == ["line 0", "line 1"], 30, "the first two lines")
        assert caller.get(reference)["status"] == "running"
        wait_until(stream.over.is_set, 30, "the end of the stream")
    assert stream.messages() == lines(5)
    kind, data = stream.received[-1]
    assert (kind, data) == ("end", {"invocation_id": reference, "status": "success"})
    assert [kind for kind, _ in stream.received].count("end") == 1


def test_who_comes_late_gets_all_lines(caller: Caller) -> None:
    reference = caller.send("talks", {"lines": 200, "pause_after": 100, "sec": 3})
    wait_until(lambda: caller.lines(reference), 30, "its first lines")
    with events(caller, f"/invocations/{reference}/stream") as stream:
        wait_until(stream.over.is_set, 30, "the end of the stream")
    assert stream.messages() == lines(200)


def test_a_stream_of_an_ended_run_is_its_lines(caller: Caller) -> None:
    reference = caller.send("talks", {"lines": 2})
    caller.ended(reference)
    with events(caller, f"/invocations/{reference}/stream") as stream:
        wait_until(stream.over.is_set, 30, "the end of the stream")
    assert stream.messages() == lines(2)


def test_a_stream_goes_on_over_the_tries_of_a_run(caller: Caller) -> None:
    code = "def main(event, context):\n    print('try', context.attempt)\n    assert context.attempt > 1\n"
    caller.create("retried", code, memory_mb=128)
    reference = caller.send("retried", {})
    with events(caller, f"/invocations/{reference}/stream") as stream:
        wait_until(stream.over.is_set, 60, "the end of the stream")
    assert stream.messages() == ["try 1", "try 2"]
    assert stream.received[-1][1]["status"] == "success"


def test_a_cancelled_run_ends_its_stream(caller: Caller) -> None:
    reference = caller.send("talks", {"lines": 3, "pause_after": 0, "sec": 60})
    with events(caller, f"/invocations/{reference}/stream") as stream:
        wait_until(lambda: stream.messages() == ["line 0"], 30, "the first line")
        caller.http.post(f"/invocations/{reference}/cancel")
        wait_until(stream.over.is_set, 30, "the end of the stream")
    assert stream.received[-1] == ("end", {"invocation_id": reference, "status": "cancelled"})


def test_a_functions_stream_has_all_its_runs_and_no_others(caller: Caller) -> None:
    caller.create("other", TALKS, memory_mb=128)
    with events(caller, "/functions/talks/logs/stream") as stream:
        wait_until(lambda: _hears(caller, stream.messages()), 30, "the stream to hear")
        other = caller.invoke("other", {"lines": 1}).json()["invocation_id"]
        called = caller.invoke("talks", {"lines": 1}).json()["invocation_id"]
        sent = caller.send("talks", {"lines": 2})

        # Of the runs before it may still have lines to come.
        def heard() -> list[str]:
            return [data["invocation_id"] for _, data in stream.received]

        wait_until(lambda: sum(each in (called, sent) for each in heard()) >= 5, 30, "the lines of both runs")
        assert {called, sent} < set(heard())
        assert other not in heard()
    caller.http.delete("/functions/other")


def _hears(caller: Caller, messages: list[str]) -> bool:
    caller.invoke("talks", {"lines": 0})
    return bool(messages)
