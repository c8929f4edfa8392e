"""LinkedSandbox against runners that lie, flood and die: each costs its own sandbox and has a sentence for it. A thread
that waits and an event loop that does not come to the same."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from functions.spec import FunctionSpec
from invocations.models import Invocation
from invocations.outcome import Fault, LogLine, Outcome, Status
from tests import exchanges
from workers.frames import ConnectionEnded, FrameStream, Kind
from workers.link import Death, Limits, LinkedSandbox
from workers.sandbox import Call, LogSink, SandboxError

LIMITS = Limits(result_bytes=1000, log_bytes=2000)
CALL = Call(invocation_id="me", request_id="r")
SPEC = FunctionSpec(
    function_id="f", function_name="f", version=1, runtime="python3.11", handler="h.main", memory_mb=256, timeout_sec=3,
    artifact=b"code", artifact_sha256="",
)  # fmt: skip

Script = Callable[[FrameStream], None]


class FakeSandbox(LinkedSandbox):
    """The driver's half, that only takes notes."""

    def __init__(self, stream: FrameStream, death: Death = Death()) -> None:  # noqa: B008
        super().__init__(stream, id="s", runtime="python3.11", memory_mb=256, network="none", limits=LIMITS)
        self.death = death
        self.notes: list[str] = []

    def _kill(self) -> None:
        self.notes.append("kill")

    def _post_mortem(self) -> Death:
        self.notes.append("post mortem")
        return self.death

    def _fit(self, memory_mb: int) -> None:
        self.notes.append(f"fit {memory_mb}")

    def _cleanup(self) -> None:
        self.notes.append("cleanup")


Way = Callable[..., Outcome]
WAYS: dict[str, Way] = {"thread": LinkedSandbox.invoke, "loop": exchanges.invoke}


class Pair:
    """A sandbox and the runner's end of its connection."""

    def __init__(self, way: Way) -> None:
        self.way = way
        ours, theirs = socket.socketpair()
        self.sandbox = FakeSandbox(FrameStream(ours))
        self.runner = FrameStream(theirs)

    def say(self, kind: Kind, head: dict[str, Any], body: bytes = b"") -> None:
        self.runner.send(kind, head, body, time.monotonic() + 10)

    def call(self, event: bytes = b"{}", deadline_sec: float = 10, on_log: LogSink | None = None) -> Outcome:
        return self.way(self.sandbox, CALL, event, time.monotonic() + deadline_sec, on_log)

    def invoke(self, script: Callable[[], None], deadline_sec: float = 10) -> Outcome:
        """Run one call against a runner that reads the INVOKE and then does as the script says."""

        def play() -> None:
            self.runner.receive(time.monotonic() + 10)
            script()

        thread = threading.Thread(target=play)
        thread.start()
        outcome = self.call(deadline_sec=deadline_sec)
        thread.join()
        return outcome


@pytest.fixture(params=WAYS.values(), ids=WAYS.keys())
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(request.param)
    yield made
    made.sandbox.destroy()
    made.runner.close()


def test_result(pair: Pair) -> None:
    def script() -> None:
        pair.say(Kind.LOG, {"id": "me", "stream": "stdout", "at_ms": 5}, b"a\nb\n")
        pair.say(Kind.RESULT, {"id": "me", "duration_ms": 1, "memory_mb": 12.5}, b'{"a":1}')

    outcome = pair.invoke(script)
    assert (outcome.status, outcome.output, outcome.memory_used_mb) == (Status.SUCCESS, b'{"a":1}', 12.5)
    assert outcome.logs == (LogLine(5, "stdout", "a"), LogLine(5, "stdout", "b"))
    assert outcome.duration_ms > 0
    assert pair.sandbox.alive


@pytest.mark.parametrize(
    ("kind", "head", "body"),
    [
        (Kind.RESULT, {"id": "other"}, b"1"),
        (Kind.RESULT, {}, b"1"),
        (Kind.FAULT, {"error": "x"}, b""),
        (Kind.LOADED, {"id": "me"}, b""),
        (Kind.HELLO, {"id": "me"}, b""),
        (Kind.PONG, {"id": "me"}, b""),
        (Kind.LOG, {"id": "other", "stream": "stdout"}, b"x\n"),
        (Kind.LOG, {"id": "me", "stream": "system"}, b"x\n"),
        (Kind.LOG, {"id": "me", "stream": ["stdout"]}, b"x\n"),
    ],
)
def test_violations(pair: Pair, kind: Kind, head: dict[str, Any], body: bytes) -> None:
    outcome = pair.invoke(lambda: pair.say(kind, head, body))
    assert (outcome.status, outcome.fault, outcome.error_type) == (Status.FAILED, Fault.FUNCTION, "ProtocolViolation")
    assert "kill" in pair.sandbox.notes
    assert not pair.sandbox.alive


def test_unasked_frames_end_an_idle_sandbox(pair: Pair) -> None:
    before = pair.sandbox.alive
    pair.say(Kind.RESULT, {"id": "me"}, b"1")
    assert (before, pair.sandbox.alive) == (True, False)
    outcome = pair.call()
    assert (outcome.fault, outcome.error_type) == (Fault.PLATFORM, "SandboxUnavailable")
    with pytest.raises(SandboxError):
        pair.sandbox.load(SPEC, time.monotonic() + 5)


@pytest.mark.parametrize("body", [b"NaN", b"", b"{", b"\xff", b'"\\ud800"', b"[" * 400])
def test_result_that_is_no_json(pair: Pair, body: bytes) -> None:
    outcome = pair.invoke(lambda: pair.say(Kind.RESULT, {"id": "me"}, body))
    assert outcome.error_type == "ResultNotJson"
    assert pair.sandbox.alive


def test_result_too_large(pair: Pair) -> None:
    outcome = pair.invoke(lambda: pair.say(Kind.RESULT, {"id": "me"}, b"1" * 1001))
    assert outcome.error_type == "ResultTooLarge"
    assert pair.sandbox.alive


def test_fault_is_bounded_and_clean(pair: Pair) -> None:
    head = {
        "id": "me", "error": "a\0" + "b" * 100_000, "error_type": "T" * 500, "stack_trace": ["f" * 9000, 5] * 300,
        "memory_mb": "much",
    }  # fmt: skip
    outcome = pair.invoke(lambda: pair.say(Kind.FAULT, head))
    assert outcome.error.startswith("a\ufffdbbb") and len(outcome.error) < 70_000
    assert len(outcome.error_type) == Invocation._meta.get_field("error_type").max_length
    assert len(outcome.stack_trace) == 100 and len(outcome.stack_trace[0]) <= 4097
    assert outcome.memory_used_mb is None
    assert pair.sandbox.alive


def test_fatal_fault(pair: Pair) -> None:
    outcome = pair.invoke(lambda: pair.say(Kind.FAULT, {"id": "me", "error": "x", "error_type": "E", "fatal": True}))
    assert outcome.error_type == "E"
    assert not pair.sandbox.alive
    assert "kill" in pair.sandbox.notes


def test_flood_is_cut_then_ended(pair: Pair) -> None:
    def script() -> None:
        pair.runner.receive(time.monotonic() + 10)
        with suppress(ConnectionEnded):  # the driver has let go
            for _ in range(1000):
                pair.say(Kind.LOG, {"id": "me", "stream": "stdout", "at_ms": 1}, b"\n" * 50_000)

    thread = threading.Thread(target=script)
    thread.start()
    outcome = pair.call()
    pair.sandbox.destroy()
    thread.join()
    assert outcome.error_type == "ProtocolViolation"
    assert len(outcome.logs) < 300
    assert outcome.logs[-1].stream == "system"


def test_timeout_kills(pair: Pair) -> None:
    outcome = pair.invoke(lambda: None, deadline_sec=0.05)
    assert (outcome.status, outcome.error_type) == (Status.TIMEOUT, "Timeout")
    assert pair.sandbox.notes == ["kill"]
    assert not pair.sandbox.alive


@pytest.mark.parametrize(
    ("death", "error_type", "word"),
    [
        (Death(out_of_memory=True, signal=9), "OutOfMemory", "256 MB"),
        (Death(exit_code=3), "ProcessExited", "code 3"),
        (Death(exit_code=0), "ProcessExited", "code 0"),
        (Death(signal=signal.SIGSEGV), "ProcessCrashed", "SIGSEGV"),
        (Death(signal=250), "ProcessCrashed", "signal 250"),
        (Death(exit_code=76), "ProtocolViolation", "closed"),
        (Death(), "ProtocolViolation", "closed"),
    ],
)
def test_deaths(pair: Pair, death: Death, error_type: str, word: str) -> None:
    pair.sandbox.death = death
    outcome = pair.invoke(lambda: pair.runner.close())
    assert (outcome.status, outcome.fault, outcome.error_type) == (Status.FAILED, Fault.FUNCTION, error_type)
    assert word in outcome.error
    assert not pair.sandbox.alive


def test_destroy_during_invoke(pair: Pair) -> None:
    outcome = pair.invoke(pair.sandbox.destroy)
    assert (outcome.status, outcome.error_type) == (Status.CANCELLED, "Cancelled")
    assert "post mortem" not in pair.sandbox.notes
    assert pair.sandbox.notes.count("cleanup") == 1


def test_load(pair: Pair) -> None:
    pair.say(Kind.LOADED, {"load_ms": 1})  # before it is asked: that is a violation too
    assert not pair.sandbox.alive


def test_load_fits_the_memory_and_fails_without_an_id(pair: Pair) -> None:
    def runner() -> None:
        frame = pair.runner.receive(time.monotonic() + 10)
        assert (frame.kind, frame.body, frame.head["handler"]) == (Kind.LOAD, b"code", "h.main")
        pair.say(Kind.LOG, {"stream": "stderr", "at_ms": 1}, b"oh\n")
        pair.say(Kind.FAULT, {"error": "no", "error_type": "ModuleNotFound"})

    thread = threading.Thread(target=runner)
    thread.start()
    pair.sandbox.memory_mb = 128
    outcome = pair.sandbox.load(SPEC, time.monotonic() + 10)
    thread.join()
    assert outcome is not None
    assert (outcome.status, outcome.error_type) == (Status.FAILED, "ModuleNotFound")
    assert [line.text for line in outcome.logs] == ["oh"]
    assert pair.sandbox.notes == ["fit 256"]
    assert not pair.sandbox.alive


def test_a_broken_sink_does_not_break_the_run(pair: Pair) -> None:
    def sink(line: LogLine) -> None:
        raise RuntimeError("sink")

    def script() -> None:
        pair.runner.receive(time.monotonic() + 10)
        pair.say(Kind.LOG, {"id": "me", "stream": "stdout", "at_ms": 1}, b"a\nb\n")
        pair.say(Kind.RESULT, {"id": "me"}, b"1")

    thread = threading.Thread(target=script)
    thread.start()
    outcome = pair.call(on_log=sink)
    thread.join()
    assert outcome.ok and len(outcome.logs) == 2


def test_event_above_a_frame(pair: Pair) -> None:
    outcome = pair.call(bytes(17 * 1024 * 1024))
    assert (outcome.status, outcome.fault) == (Status.FAILED, Fault.CALLER)
    assert pair.sandbox.alive


def test_being_asked_whether_it_lives_disturbs_no_call(pair: Pair) -> None:
    calls = 3000
    ended = threading.Event()
    answers: list[bool] = []

    def runner() -> None:
        for _ in range(calls):
            pair.runner.receive(time.monotonic() + 10)
            pair.say(Kind.RESULT, {"id": "me"}, b"1")

    def ask() -> None:
        try:
            while not ended.is_set():
                answers.append(pair.sandbox.alive)
        except RuntimeError:
            answers.append(False)

    threads = [threading.Thread(target=runner), *(threading.Thread(target=ask) for _ in range(3))]
    for thread in threads:
        thread.start()
    outcomes = {pair.call().status for _ in range(calls)}
    ended.set()
    for thread in threads:
        thread.join()
    assert outcomes == {Status.SUCCESS}
    assert answers and all(answers)


def test_events_and_results_of_any_size_come_whole(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Larger than any buffer, both ways at once, in pieces."""
    monkeypatch.setattr(pair.sandbox, "limits", Limits(result_bytes=9_000_000, log_bytes=2000))
    for size in (0, 1, 65_000, 65_536, 70_000, 300_000, 6_000_000):
        event = b'"' + b"e" * size + b'"'

        def script(event: bytes = event) -> None:
            frame = pair.runner.receive(time.monotonic() + 10)
            assert (frame.kind, frame.body) == (Kind.INVOKE, event)
            pair.say(Kind.LOG, {"id": "me", "stream": "stdout", "at_ms": 1}, b"x\n")
            pair.say(Kind.RESULT, {"id": "me"}, event)

        thread = threading.Thread(target=script)
        thread.start()
        outcome = pair.call(event)
        thread.join()
        assert outcome.ok and outcome.output == event
        assert [line.text for line in outcome.logs] == ["x"]
        assert pair.sandbox.alive


def test_a_runner_that_answers_before_it_has_its_event_is_not_believed(pair: Pair) -> None:
    """The rest of the event would lie in the next caller's way."""
    pair.say(Kind.LOG, {"id": "me", "stream": "stdout", "at_ms": 1}, b"x\n")
    pair.sandbox.stream.idle = lambda: True  # type: ignore[method-assign]  it says so a moment later
    pair.say(Kind.RESULT, {"id": "me"}, b"1")
    outcome = pair.call(bytes(8_000_000), deadline_sec=0.5)
    assert not outcome.ok
    assert outcome.fault is Fault.FUNCTION
    assert not pair.sandbox.alive


def test_a_runner_that_does_not_read_its_event_runs_out_of_time(pair: Pair) -> None:
    outcome = pair.call(bytes(8_000_000), deadline_sec=0.2)
    assert (outcome.status, outcome.error_type) == (Status.TIMEOUT, "Timeout")
    assert not pair.sandbox.alive


def test_a_runner_that_dies_while_it_is_told_its_event(pair: Pair) -> None:
    pair.sandbox.death = Death(exit_code=3)

    def script() -> None:
        pair.runner.receive(time.monotonic() + 10)
        pair.say(Kind.RESULT, {"id": "me"}, b"1")
        pair.runner._socket.recv(1000)
        pair.runner.close()

    thread = threading.Thread(target=script)
    thread.start()
    assert pair.call().ok
    outcome = pair.call(bytes(8_000_000))
    thread.join()
    assert (outcome.status, outcome.error_type) == (Status.FAILED, "ProcessExited")
    assert not pair.sandbox.alive


def test_a_runner_that_goes_on_talking_is_spent(pair: Pair) -> None:
    def script() -> None:
        pair.say(Kind.RESULT, {"id": "me"}, b"1")
        pair.say(Kind.RESULT, {"id": "me"}, b"2")

    assert pair.invoke(script).output == b"1"
    assert not pair.sandbox.alive
    assert pair.call().error_type == "SandboxUnavailable"


def test_an_end_by_the_runners_own_clock_is_a_timeout(pair: Pair) -> None:
    told = {"id": "me", "error": "slow", "error_type": "X", "timed_out": True}
    outcome = pair.invoke(lambda: pair.say(Kind.FAULT, told), deadline_sec=0.2)
    assert (outcome.status, outcome.error_type) == (Status.TIMEOUT, "Timeout")
    assert pair.sandbox.alive


def test_a_runner_can_not_end_a_call_long_before_its_time(pair: Pair) -> None:
    told = {"id": "me", "error": "slow", "error_type": "X", "timed_out": True}
    outcome = pair.invoke(lambda: pair.say(Kind.FAULT, told), deadline_sec=60)
    assert (outcome.status, outcome.error_type) == (Status.FAILED, "X")


def test_what_the_load_printed_is_in_the_first_run_only(pair: Pair) -> None:
    def runner() -> None:
        pair.runner.receive(time.monotonic() + 10)
        pair.say(Kind.LOG, {"stream": "stderr", "at_ms": 1}, b"loading\n")
        pair.say(Kind.LOADED, {})
        for _ in range(2):
            pair.runner.receive(time.monotonic() + 10)
            pair.say(Kind.LOG, {"id": "me", "stream": "stdout", "at_ms": 2}, b"ran\n")
            pair.say(Kind.RESULT, {"id": "me"}, b"1")

    thread = threading.Thread(target=runner)
    thread.start()
    assert pair.sandbox.load(SPEC, time.monotonic() + 10) is None
    assert [[line.text for line in pair.call().logs] for _ in range(2)] == [["loading", "ran"], ["ran"]]
    thread.join()


def test_both_ways_take_turns_in_one_sandbox(pair: Pair) -> None:
    def runner() -> None:
        for _ in range(20):
            frame = pair.runner.receive(time.monotonic() + 10)
            pair.say(Kind.RESULT, {"id": "me"}, frame.body)

    thread = threading.Thread(target=runner)
    thread.start()
    for number in range(20):
        way = list(WAYS.values())[number % 2]
        event = b'"' + b"e" * (100 if number % 3 else 900) + b'"'
        assert way(pair.sandbox, CALL, event, time.monotonic() + 10, None).output == event
    thread.join()
