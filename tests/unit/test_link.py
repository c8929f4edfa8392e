"""LinkedSandbox against runners that lie, flood and die: each costs its own sandbox and has a sentence for it."""

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
from invocations.outcome import Fault, LogLine, Outcome, Status
from workers.frames import ConnectionEnded, FrameStream, Kind
from workers.link import Death, Limits, LinkedSandbox
from workers.sandbox import Call, SandboxError

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


class Pair:
    """A sandbox and the runner's end of its connection."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self.sandbox = FakeSandbox(FrameStream(ours))
        self.runner = FrameStream(theirs)

    def say(self, kind: Kind, head: dict[str, Any], body: bytes = b"") -> None:
        self.runner.send(kind, head, body, time.monotonic() + 10)

    def invoke(self, script: Callable[[], None], deadline_sec: float = 10) -> Outcome:
        """Run one call against a runner that reads the INVOKE and then does as the script says."""

        def play() -> None:
            self.runner.receive(time.monotonic() + 10)
            script()

        thread = threading.Thread(target=play)
        thread.start()
        outcome = self.sandbox.invoke(CALL, b"{}", time.monotonic() + deadline_sec)
        thread.join()
        return outcome


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
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
    outcome = pair.sandbox.invoke(CALL, b"{}", time.monotonic() + 5)
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
    assert len(outcome.error_type) <= 201
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
    outcome = pair.sandbox.invoke(CALL, b"{}", time.monotonic() + 10)
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
    outcome = pair.sandbox.invoke(CALL, b"{}", time.monotonic() + 10, sink)
    thread.join()
    assert outcome.ok and len(outcome.logs) == 2


def test_event_above_a_frame(pair: Pair) -> None:
    outcome = pair.sandbox.invoke(CALL, bytes(17 * 1024 * 1024), time.monotonic() + 10)
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
    outcomes = {pair.sandbox.invoke(CALL, b"{}", time.monotonic() + 10).status for _ in range(calls)}
    ended.set()
    for thread in threads:
        thread.join()
    assert outcomes == {Status.SUCCESS}
    assert answers and all(answers)
