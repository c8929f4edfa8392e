"""The direct lane, web process to sandbox and back: a whole worker on the process driver, connections that break, and
the zoo, which must come to the same as in any other way."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from functions.configuration import SecretUnreadable
from invocations import ledger
from invocations.direct import WorkerLost
from invocations.models import Invocation
from invocations.outcome import Status
from invocations.record import RunRecord
from nimbus_project.core import redis, unix_socket, wire
from tests.handlers.zoo import CASES, Case
from tests.integration.drivers import check_outcome, check_output, spec_of
from tests.integration.lanes import COUNTER, SLEEPER, LaneWorker, Web, message, open_web, open_worker, outcome_of
from tests.integration.plane import wait_until
from workers import executor

WITHIN_SEC = 60.0


@pytest.fixture(scope="module")
def lane_worker(
    redis_server: Any, django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LaneWorker]:
    with django_db_blocker.unblock(), open_worker(tmp_path_factory.mktemp("lane"), direct_backlog=300) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared_web(lane_worker: LaneWorker) -> Iterator[Web]:
    with open_web(lane_worker.settings, lane_worker.state) as web:
        yield web


@pytest.fixture
def worker(lane_worker: LaneWorker, transactional_db: None) -> Iterator[LaneWorker]:
    yield lane_worker
    for function_id, _ in lane_worker.functions:
        lane_worker.worker.evict(function_id)
    lane_worker.functions.clear()


@pytest.fixture
def web(shared_web: Web, worker: LaneWorker) -> Web:
    return shared_web


def ran(record: RunRecord | None) -> RunRecord:
    assert record is not None, "no worker has taken it"
    return record


def value(record: RunRecord | None) -> Any:
    record = ran(record)
    assert record.status == "success", (record.error_type, record.error)
    return orjson.loads(record.output or b"")


# -- calls


def test_a_call_there_and_back(web: Web, worker: LaneWorker) -> None:
    spec = worker.add(
        "def main(event, context):\n    print('hi')\n    return [event, context.request_id, context.alias]"
    )
    call = message(spec, alias="prod", request_id="r-7", session_key="s", environment="", owner_id=None, caller_id=3)
    record = ran(web.call(call, b'{"a": 1}'))
    assert value(record) == [{"a": 1}, "r-7", "prod"]
    same = (
        "id",
        "request_id",
        "function_id",
        "function_name",
        "runtime",
        "version",
        "alias",
        "session_key",
        "caller_id",
    )
    assert {name: getattr(record, name) for name in same} == {name: getattr(call, name) for name in same}
    assert (record.worker_id, record.start_kind) == (worker.worker.id, "cold")
    assert [text for _, _, text in record.logs] == ["hi"]
    assert record.created_ms <= (record.started_ms or 0) <= record.completed_ms
    assert 0 < record.duration_ms <= record.completed_ms - record.created_ms + 1000
    assert ran(web.call(message(spec))).start_kind == "warm"


def test_the_record_is_on_the_disk_before_the_answer_is_sent(
    web: Web, worker: LaneWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that comes later can lose it: here the scribe gets no further."""
    from django.db import OperationalError

    def away(*_: object) -> None:
        raise OperationalError("the database is away")

    spec = worker.add()
    web.call(message(spec))
    wait_until(Invocation.objects.exists, "the scribe to have read so far")
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "store", away)
        calls = [message(spec) for _ in range(20)]
        for call in calls:
            web.call(call)
            journal = worker.worker.scribe.journal
            written = b"".join(path.read_bytes() for path in journal._folder.glob("*.journal"))
            assert written.count(call.id.encode()) == 1
    wait_until(lambda: Invocation.objects.count() == 21, "the records, once the database is back")


def test_each_of_many_gets_its_own_answer(web: Web, worker: LaneWorker) -> None:
    """200 at once, over one connection, some large: few sandboxes, and no answer is another's."""
    spec = worker.add()
    events = [orjson.dumps({"n": n, "more": "x" * (200_000 if n % 20 == 0 else n)}) for n in range(200)]
    answers = web.calls([(message(spec), event) for event in events])
    assert [ran(answer).output for answer in answers] == [orjson.dumps(orjson.loads(event)) for event in events]
    assert worker.worker.pool.stats().size <= 8
    wait_until(lambda: Invocation.objects.count() == 200, "all records")


def test_events_and_results_of_the_largest_size(web: Web, worker: LaneWorker) -> None:
    spec = worker.add()
    event = b'"' + b"x" * (6 * 1024 * 1024 - 2) + b'"'
    answers = web.calls([(message(spec), event) for _ in range(4)])
    assert [ran(answer).output == event for answer in answers] == [True] * 4


def test_both_lanes_use_the_same_sandbox(web: Web, worker: LaneWorker) -> None:
    spec = worker.add(COUNTER)
    found: list[int] = []
    for number in range(6):
        if number % 2:
            found.append(value(web.call(message(spec))))
            continue
        call = message(spec)
        executor.run_call(worker.worker, call.to_wire(), "{}")
        answer = redis.connection().blpop([redis.REPLIES + "web"], timeout=20)
        assert answer is not None
        found.append(value(RunRecord.from_bytes(answer[1])))
    assert found == [1, 2, 3, 4, 5, 6]


def test_a_call_that_runs_long_holds_up_no_other(web: Web, worker: LaneWorker) -> None:
    slow, quick = worker.add(SLEEPER), worker.add()
    call = message(slow)
    under_way = web.begin(call, b'{"sec": 30}')
    wait_until(lambda: [run for run in worker.state.running if run["id"] == call.id], "the slow one to be told of")
    for number in range(20):
        assert value(web.call(message(quick), b"%d" % number)) == number
    assert not under_way.done()
    assert worker.worker.pool.cancel(call.id)
    record = ran(under_way.result(WITHIN_SEC))
    assert (record.status, record.fault, record.error_type) == ("cancelled", "caller", "Cancelled")
    wait_until(lambda: not worker.state.running, "nothing to be told of")


def test_who_runs_out_of_time_is_ended_beside_the_others(web: Web, worker: LaneWorker) -> None:
    spec, quick = worker.add(SLEEPER, timeout_sec=1), worker.add()
    calls = [(message(spec), b'{"sec": 60}')] * 3 + [(message(quick), b"1")] * 20
    records = [ran(each) for each in web.calls(calls)]
    assert {(each.status, each.error_type) for each in records[:3]} == {("timeout", "Timeout")}
    assert [value(each) for each in records[3:]] == [1] * 20


# -- calls that no sandbox runs


def test_a_call_that_came_too_late_is_not_begun(web: Web, worker: LaneWorker) -> None:
    spec = worker.add(COUNTER)
    record = ran(web.call(message(spec, start_before_ms=time.time() * 1000 - 1)))
    assert (record.status, record.fault, record.error_type) == ("failed", "platform", "SandboxUnavailable")
    assert value(web.call(message(spec))) == 1


def test_a_function_that_is_gone(web: Web, worker: LaneWorker) -> None:
    record = ran(web.call(message(worker.add()), b"1"))
    assert record.status == "success"
    spec = worker.add()
    worker.functions.clear()
    record = ran(web.call(message(spec)))
    assert (record.status, record.fault, record.error_type) == ("failed", "caller", "FunctionDeleted")


@pytest.mark.parametrize("error", [SecretUnreadable("a secret can't be read"), RuntimeError("a bug"), OSError("away")])
def test_a_function_that_can_not_be_read(web: Web, worker: LaneWorker, error: Exception) -> None:
    spec = worker.add()

    def fail(*_: object) -> None:
        raise error

    worker.worker.specs._read, kept = fail, worker.worker.specs._read
    try:
        record = ran(web.call(message(spec)))
    finally:
        worker.worker.specs._read = kept
    assert (record.status, record.fault, record.error_type) == ("failed", "platform", "SandboxUnavailable")
    assert value(web.call(message(spec), b"1")) == 1


def test_a_function_larger_than_the_worker(web: Web, worker: LaneWorker) -> None:
    record = ran(web.call(message(worker.add(memory_mb=100_000))))
    assert (record.fault, record.error_type) == ("platform", "SandboxUnavailable")
    assert "100000 MB" in record.error


def test_a_later_generation_is_not_run_with_secrets_of_before(web: Web, worker: LaneWorker) -> None:
    spec = worker.add("import os\n\ndef main(event):\n    return os.environ['COLOUR']", env_vars={"COLOUR": "red"})
    assert value(web.call(message(spec))) == "red"
    worker.take(replace(spec, generation=1, env_vars={"COLOUR": "blue"}))
    assert value(web.call(message(spec, generation=1))) == "blue"
    assert value(web.call(message(spec, generation=0))) == "blue", "who knows less gets what is now"


# -- a worker that has no room


def test_a_worker_with_its_hands_full_says_so_and_the_queue_is_next(tmp_path: Path, worker: LaneWorker) -> None:
    """Busy is said before a call is begun; what is under way goes on."""
    with open_worker(tmp_path, direct_backlog=3) as small, open_web(small.settings, small.state) as web:
        spec = small.add(SLEEPER)
        under_way = [web.begin(message(spec), b'{"sec": 1, "token": 5}') for _ in range(3)]
        wait_until(lambda: len(small.state.running) == 3, "three calls to be there")
        before = Invocation.objects.count()
        assert web.calls([(message(spec), b'{"sec": 0}')] * 5) == [None] * 5
        assert [value(future.result(WITHIN_SEC)) for future in under_way] == [5, 5, 5]
        assert value(web.call(message(spec), b'{"sec": 0, "token": 6}')) == 6
    assert Invocation.objects.count() == before + 4, "those that it refused are not its to record"


def test_without_a_backlog_all_goes_by_the_queue(tmp_path: Path, worker: LaneWorker) -> None:
    with open_worker(tmp_path, direct_backlog=0) as none, open_web(none.settings, none.state) as web:
        assert web.call(message(none.add())) is None


def test_a_stopping_worker_takes_no_more_and_ends_what_it_has(tmp_path: Path, worker: LaneWorker) -> None:
    with open_worker(tmp_path, drain_grace_sec=30) as stopping, open_web(stopping.settings, stopping.state) as web:
        spec = stopping.add(SLEEPER)
        call = message(spec)
        under_way = web.begin(call, b'{"sec": 1, "token": 5}')
        wait_until(lambda: stopping.state.running, "the call to begin")
        stopping.worker.draining.set()
        assert web.call(message(spec)) is None
        stopping.worker.close()
        assert value(under_way.result(WITHIN_SEC)) == 5
        assert not list((tmp_path / "direct").iterdir())
        # Until it has heard of the end a web process may send there, and hears then that the worker is lost.
        wait_until(lambda: not any(link.is_open for link in web.lane._links.values()), "the connection's end")
        assert web.call(message(spec)) is None
    assert Invocation.objects.get(pk=call.id).status == "success"


def test_what_does_not_end_in_time_is_answered_all_the_same(tmp_path: Path, worker: LaneWorker) -> None:
    """Its grace is over: the sandbox goes, the run is recorded, the caller is told."""
    with open_worker(tmp_path, drain_grace_sec=1) as stopping, open_web(stopping.settings, stopping.state) as web:
        call = message(stopping.add(SLEEPER))
        under_way = web.begin(call, b'{"sec": 60}')
        wait_until(lambda: stopping.state.running, "the call to begin")
        stopping.worker.close()
        try:
            record = ran(under_way.result(WITHIN_SEC))
        except WorkerLost:
            # As good: the web process records and tells it.
            return
    assert record.status in ("failed", "cancelled")
    assert Invocation.objects.get(pk=call.id).status == record.status


# -- connections that end


def test_a_caller_that_is_gone_costs_nothing(web: Web, worker: LaneWorker) -> None:
    """Its run ends and is recorded, its sandbox serves on."""
    spec = worker.add(COUNTER.replace("    return", "    import time; time.sleep(event)\n    return"))
    with open_web(worker.settings, worker.state) as other:
        call = message(spec)
        under_way = other.begin(call, b"1")
        wait_until(lambda: worker.state.running, "the call to begin")
        other.cut()
        with pytest.raises(WorkerLost):
            under_way.result(WITHIN_SEC)
    wait_until(lambda: not worker.state.running, "the run to end")
    wait_until(lambda: Invocation.objects.filter(pk=call.id).exists(), "its record")
    row = Invocation.objects.get(pk=call.id)
    assert (row.status, bytes(row.output or b"")) == ("success", b"1")
    assert value(web.call(message(spec), b"0")) == 2, "the same sandbox, whole"


def test_a_web_process_that_is_gone_in_the_middle_of_its_words(web: Web, worker: LaneWorker) -> None:
    spec = worker.add(COUNTER)
    frame = wire.encode(wire.CALL, 1, message(spec).to_head(), b"{}")
    for cut in (1, 12, 13, len(frame) - 1):
        sock = unix_socket.connect(Path(worker.state.direct["unix"]))
        sock.sendall(frame[:cut])
        sock.close()
    assert value(web.call(message(spec))) == 1, "half a call is none"


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\xff" * 64,
        struct.pack(">IBII", wire.MAX_FRAME_BYTES + 1, wire.CALL, 1, 0),
        struct.pack(">IBII", 20, wire.CALL, 1, 4000) + b"x" * 40,
    ],
)
def test_who_does_not_speak_the_protocol_is_hung_up_on(web: Web, worker: LaneWorker, rubbish: bytes) -> None:
    spec = worker.add()
    with speaking(worker) as sock:
        sock.sendall(rubbish)
        assert heard(sock, lambda frames: False) == [(wire.HELLO, 0)]
    assert value(web.call(message(spec), b"1")) == 1


def test_frames_that_mean_nothing_are_passed_over(worker: LaneWorker) -> None:
    """Of a later release, or of none: what can be answered is."""
    spec = worker.add()
    broken: list[bytes] = [b"", b"[]", b"{}", b"rubbish", b"null", orjson.dumps(["x"] * 40)]
    with speaking(worker) as sock:
        for number, head in enumerate(broken):
            sock.sendall(wire.encode(wire.CALL, number, head, b"{}"))
        sock.sendall(wire.encode(wire.ANSWER, 70, b"") + wire.encode(200, 71, b"x", b"y"))
        sock.sendall(wire.encode(wire.CALL, 99, message(spec).to_head(), b"1"))
        frames = heard(sock, lambda frames: (wire.ANSWER, 99) in frames)
    assert sorted(frames) == sorted([(wire.HELLO, 0), (wire.ANSWER, 99), *((wire.BUSY, n) for n in range(len(broken)))])


def speaking(worker: LaneWorker) -> socket.socket:
    sock = unix_socket.connect(Path(worker.state.direct["unix"]))
    sock.settimeout(WITHIN_SEC)
    return sock


def heard(sock: socket.socket, enough: Callable[[list[tuple[int, int]]], bool]) -> list[tuple[int, int]]:
    """Kinds and numbers of what the worker says, until it is enough or it hangs up."""
    splitter, frames = wire.Splitter(), []
    while not enough(frames) and (data := sock.recv(65536)):
        frames += [(kind, number) for kind, number, _, _ in splitter.feed(data)]
    return frames


def test_the_socket_is_its_users_alone(worker: LaneWorker) -> None:
    path = Path(worker.state.direct["unix"])
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_in_a_folder_whose_path_is_longer_than_an_address(tmp_path: Path, worker: LaneWorker) -> None:
    folder = tmp_path / ("x" * 120)
    with open_worker(folder) as far, open_web(far.settings, far.state) as web:
        assert value(web.call(message(far.add()), b"1")) == 1


# -- the zoo

SEEN_ELSEWHERE = {"callable_object", "context"}
"""What a call is told of itself has a test of its own."""
ZOO = [case for case in CASES if case.language in ("python", "node") and case.name not in SEEN_ELSEWHERE]


@pytest.mark.parametrize("case", ZOO, ids=lambda case: f"{case.language}-{case.name}-{case.events!r:.20}")
def test_zoo(web: Web, worker: LaneWorker, case: Case) -> None:
    spec = worker.take(replace(spec_of(case), function_id=str(uuid4())))
    witness = web.begin(message(worker.add()), b'"still there"')
    record = _play(web, spec, case)
    check_outcome(outcome_of(record), case)
    assert value(witness.result(WITHIN_SEC)) == "still there"
    key = f"{spec.function_id}:{spec.version}"
    if case.survives is not None:
        wait_until(lambda: (key in worker.loaded) is case.survives, f"its sandbox: {case.survives}")
    if case.survives and not case.at_load:
        again = ran(web.call(message(spec), orjson.dumps(case.events[0])))
        assert again.status == (Status.SUCCESS if len(case.events) > 1 else case.status), again
        assert again.start_kind == "warm"


def _play(web: Web, spec: Any, case: Case) -> RunRecord:
    for number, event in enumerate(case.events):
        record = ran(web.call(message(spec), orjson.dumps(event)))
        if number < len(case.events) - 1:
            assert record.status == "success", record
        if record.status == "success":
            check_output(outcome_of(record), case.outputs[number])
    return record
