"""The ledger: a finished run's way from the journal into the database, whatever dies on it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from django.db import OperationalError, connection, connections, router
from hypothesis import HealthCheck, given, settings

from invocations import ledger, rows
from invocations.journal import Journal
from invocations.models import Invocation, InvocationLog
from invocations.record import RunRecord
from nimbus_project.config import ROOT
from nimbus_project.core import redis
from nimbus_project.core.redis import CONTROL, SETTLED
from tests.integration.plane import in_threads, wait_until
from tests.runs import NASTY, any_run, run
from tests.services import RedisServer
from workers import scribe as scribes
from workers.scribe import Scribe

pytestmark = pytest.mark.usefixtures("transactional_db")


def lines_of(*runs: RunRecord) -> bytes:
    return b"".join(rows.lines_of(each) for each in runs)


def store(*runs: RunRecord) -> None:
    ledger.store(rows.HEADING, lines_of(*runs))


def forget_all() -> None:
    """Hypothesis gives the same ids again."""
    for model in (Invocation, InvocationLog):
        model.objects.all().delete()


def ids() -> set[str]:
    return {str(pk) for pk in Invocation.objects.values_list("pk", flat=True)}


def stored(record: RunRecord) -> dict[str, Any]:
    """The row, whole, and what was printed."""
    row = dict(Invocation.objects.filter(pk=record.id).values().get())
    log = InvocationLog.objects.filter(pk=record.id).first()
    row["logs"] = orjson.loads(bytes(log.lines)) if log is not None else []
    for name in ("input", "output"):
        row[name] = None if row[name] is None else bytes(row[name])
    return row


def expected(record: RunRecord) -> dict[str, Any]:
    """As `rows.parse` reads it, which has tests of its own."""
    line, _ = rows.split(rows.lines_of(record))
    row = rows.parse(Invocation, rows.COLUMNS, line)
    values = {field.attname: getattr(row, field.attname) for field in Invocation._meta.concrete_fields}
    return values | {"logs": [list(each) for each in record.logs]}


@pytest.fixture
def by_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What COPY does not take fails the test, instead of going by the ORM."""
    if connection.vendor != "postgresql":
        pytest.skip("postgres: only it has COPY")

    def refuse(*_: object) -> None:
        raise AssertionError("COPY has not taken it")

    monkeypatch.setattr(ledger, "_parsed", refuse)


class _Lite:
    """Every table is SQLite's."""

    def db_for_read(self, *_: object, **__: object) -> str:
        return "lite"

    db_for_write = db_for_read


@pytest.fixture
def on_sqlite(transactional_db: None) -> Iterator[None]:
    """A SQLite beside the database of the tests, with the ledger's two tables."""
    lite = {**connections.settings["default"], "ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    connections.settings["lite"] = lite | {"OPTIONS": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(router, "routers", [_Lite()])
        patch.setattr(ledger, "connection", connections["lite"])
        with connections["lite"].schema_editor() as editor:
            for model in (Invocation, InvocationLog):
                editor.create_model(model)
        yield
    connections["lite"].close()
    del connections["lite"], connections.settings["lite"]


ANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


# -- a record becomes a row


@ANY
@given(record=any_run())
def test_any_record_by_copy(by_copy: None, record: RunRecord) -> None:
    forget_all()
    store(record)
    assert stored(record) == expected(record)


@ANY
@given(record=any_run())
def test_any_record_by_the_orm(record: RunRecord) -> None:
    """One that is there already makes the whole batch go this way."""
    forget_all()
    there = run()
    store(there)
    store(there, record)
    assert stored(record) == expected(record)


@ANY
@given(record=any_run())
def test_any_record_on_sqlite(on_sqlite: None, record: RunRecord) -> None:
    forget_all()
    store(record)
    assert stored(record) == expected(record)


def test_text_that_looks_like_something_else(by_copy: None) -> None:
    runs = [
        run(error=text, session_key=text, request_id=text, stack_trace=[text], logs=[(1, "stdout", text)])
        for text in NASTY
    ]
    store(*runs)
    for record in runs:
        assert stored(record) == expected(record)


def test_large_ones(by_copy: None) -> None:
    record = run(input=b'"' + b"\\" * 6_000_000 + b'"', output=bytes(range(256)) * 20_000, error="\\\t" * 30_000)
    store(record)
    assert stored(record) == expected(record)


def test_records_of_one_batch_are_all_stored(by_copy: None) -> None:
    runs = [run(logs=[(1, "stdout", "x")] * (number % 3)) for number in range(300)]
    store(*runs)
    assert ids() == {record.id for record in runs}
    assert InvocationLog.objects.count() == 200


# -- again, and not at all


@pytest.fixture(params=["the database of the tests", "sqlite"])
def anywhere(request: pytest.FixtureRequest) -> None:
    if request.param == "sqlite":
        request.getfixturevalue("on_sqlite")


def test_storing_twice_changes_nothing(anywhere: None) -> None:
    record, other = run(), run()
    store(record)
    store(run(id=record.id, status="failed", error="other"), other)
    assert Invocation.objects.get(pk=record.id).status == "success"
    assert ids() == {record.id, other.id}
    assert InvocationLog.objects.count() == 2


def test_a_row_twice_in_one_batch_is_one(anywhere: None) -> None:
    record = run()
    store(record, run(), record)
    assert Invocation.objects.count() == 2


POISON = {
    "a type's name too long": lambda: lines_of(run(error_type="T" * 200)),
    "NUL in a text": lambda: lines_of(run(error="a\0b")),
    "NUL in a trace": lambda: lines_of(run(stack_trace=["a\0b"])),
    "an id that is none": lambda: lines_of(run(id="x")),
    "a version out of range": lambda: lines_of(run(version=2**40)),
    "no line of ours": lambda: b"rubbish\n",
    "a line cut in the middle": lambda: lines_of(run(logs=[]))[:200] + b"\n",
    "no text at all": lambda: b"\xff\xfe\t\x80\n",
    "an empty line": lambda: b"\n",
    "a log of nothing": lambda: rows.LOG.encode() + b"rubbish\n",
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
def test_what_the_database_never_takes_is_passed_over(poison: Callable[[], bytes]) -> None:
    before, after = run(), run()
    ledger.store(rows.HEADING, lines_of(before) + poison() + lines_of(after))
    assert {before.id, after.id} <= ids()
    assert InvocationLog.objects.filter(pk__in=[before.id, after.id]).count() == 2


def test_columns_of_another_release(anywhere: None) -> None:
    """Fewer than now, in another order: the rest has its defaults."""
    record = run(logs=[])
    values = dict(zip(rows.COLUMNS.split(","), lines_of(record)[:-1].split(b"\t"), strict=True))
    kept = [name for name in reversed(values) if name not in ("attempts", "dead_letter_id", "hops")]
    ledger.store((",".join(kept) + "\n").encode(), b"\t".join(values[name] for name in kept) + b"\n")
    assert stored(record) == expected(record)


def test_a_database_that_is_away_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise OperationalError("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(rows if connection.vendor == "postgresql" else ledger, "copy", away, raising=False)
        patch.setattr(ledger, "_insert", away)
        with pytest.raises(OperationalError):
            store(run())
    assert ids() == set()


def test_writers_at_once(anywhere: None) -> None:
    shared = [run() for _ in range(50)]
    if connections[router.db_for_write(Invocation)].vendor == "sqlite":
        store(*shared)
        return
    done = in_threads(4, lambda n: store(*shared, run(worker_id=f"w{n}")))
    assert not [each for each in done if isinstance(each, Exception)]
    assert Invocation.objects.count() == 54


# -- reading right after the answer: the question


def test_settle_without_workers_does_not_wait() -> None:
    ledger.settle(redis.connection(), bound_sec=600)


def test_settle_waits_for_every_worker_and_no_longer() -> None:
    heard: list[str] = []
    both = threading.Barrier(2)

    def worker(_: int) -> None:
        with redis.connection().pubsub(ignore_subscribe_messages=True) as listener:
            listener.subscribe(CONTROL)
            both.wait(30)
            order = orjson.loads(wait_until(lambda: listener.get_message(timeout=1), "an order")["data"])
            heard.append(order["settle"])
            ledger.tell_settled(redis.connection(), order["settle"])

    workers = threading.Thread(target=lambda: in_threads(2, worker))
    workers.start()
    wait_until(lambda: dict(redis.connection().pubsub_numsub(CONTROL)).get(CONTROL.encode()) == 2, "two workers")
    ledger.settle(redis.connection(), bound_sec=600)
    workers.join()
    assert len(heard) == 2 and len(set(heard)) == 1
    assert not redis.connection().exists(heard[0]), "both answers were taken"


def test_settle_with_a_silent_worker_is_bounded() -> None:
    with redis.connection().pubsub() as listener:
        listener.subscribe(CONTROL)
        wait_until(lambda: listener.get_message(timeout=1), "the subscription")
        ledger.settle(redis.connection(), bound_sec=0.1)


def test_answers_that_nobody_takes_disappear() -> None:
    ledger.tell_settled(redis.connection(), SETTLED + "x")
    assert 0 < redis.connection().ttl(SETTLED + "x") <= ledger.SETTLED_KEPT_SEC


# -- the thread that does it in a worker


@pytest.fixture
def scribe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scribe]:
    """Started; what it is not told of does not happen within the test's time."""
    monkeypatch.setattr(scribes, "TAKE_OVER_EVERY_SEC", 3600.0)
    made = Scribe(redis.connection(), tmp_path / "journal", "w1")
    made.start()
    yield made
    if made._thread.is_alive():
        made.stop()


def wait_settled(scribe: Scribe, key: str) -> None:
    scribe.settle(key)
    wait_told(key)


def wait_told(key: str) -> None:
    wait_until(lambda: redis.connection().lpop(key), "an answer to settle")


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "journal").iterdir())


def test_the_scribe_writes_until_it_is_stopped(scribe: Scribe, tmp_path: Path) -> None:
    first, last = run(), run()
    scribe.journal.append(lines_of(first))
    wait_until(lambda: first.id in ids(), "the first record")
    scribe.journal.append(lines_of(last))
    scribe.stop()
    assert ids() == {first.id, last.id}
    assert files(tmp_path) == []


def test_settle_answers_when_all_is_written(scribe: Scribe) -> None:
    runs = [run() for _ in range(20)]
    for record in runs:
        scribe.journal.append(lines_of(record))
    wait_settled(scribe, "k")
    assert ids() == {record.id for record in runs}
    wait_settled(scribe, "again")


@pytest.mark.parametrize("large", [0, 3_000_000])
def test_settle_answers_for_small_and_large_ones_alike(scribe: Scribe, large: int) -> None:
    """A large record begins in one batch and is the next one."""
    runs = [run(), run(input=b"1" * large), run()]
    scribe.journal.append(lines_of(*runs))
    wait_settled(scribe, "k")
    assert ids() == {record.id for record in runs}


def test_settle_answers_where_one_file_ends(scribe: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("invocations.journal.SEGMENT_BYTES", len(rows.HEADING) + 1)
    for number in range(5):
        scribe.journal.append(lines_of(run()))
        wait_settled(scribe, f"k{number}")
        assert Invocation.objects.count() == number + 1


class Gate:
    """`ledger.store` one batch at a time."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Semaphore(0)
        self._store = ledger.store

    def store(self, heading: bytes, lines: bytes) -> None:
        self.entered.release()
        assert self.open.acquire(timeout=60)
        self._store(heading, lines)


def test_settle_does_not_wait_for_what_comes_later(scribe: Scribe, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    monkeypatch.setattr(ledger, "store", gate.store)
    try:
        before, later = run(), run()
        scribe.journal.append(lines_of(before))
        assert gate.entered.acquire(timeout=20)
        scribe.settle("k")
        scribe.journal.append(lines_of(later))
        assert not redis.connection().exists("k")
        gate.open.release()
        wait_told("k")
        assert ids() == {before.id}
    finally:
        gate.open.release(1000)
    wait_until(lambda: later.id in ids(), "the later one")


@pytest.mark.parametrize("error", [OperationalError("the database is away"), RuntimeError("a bug")])
def test_what_could_not_be_stored_is_tried_again(
    scribe: Scribe, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    failed = threading.Event()
    keep = ledger.store

    def away(heading: bytes, lines: bytes) -> None:
        failed.set()
        raise error

    monkeypatch.setattr(ledger, "store", away)
    record = run()
    scribe.journal.append(lines_of(record))
    assert failed.wait(20)
    scribe.settle("k")
    monkeypatch.setattr(ledger, "store", keep)
    wait_told("k")
    assert ids() == {record.id}


def test_the_scribe_needs_no_redis(scribe: Scribe, redis_server: RedisServer) -> None:
    record = run()
    redis_server.kill9()
    try:
        scribe.settle("nobody can be told")
        scribe.journal.append(lines_of(record))
        wait_until(lambda: record.id in ids(), "the record, without Redis")
    finally:
        redis_server.start()
    wait_settled(scribe, "k")


def test_what_the_database_did_not_get_by_the_end_is_kept(
    scribe: Scribe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(heading: bytes, lines: bytes) -> None:
        raise OperationalError("the database is away")

    record = run()
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "store", away)
        scribe.journal.append(lines_of(record))
        scribe.stop()
    assert ids() == set()
    following = Scribe(redis.connection(), tmp_path / "journal", "w2")
    following.start()
    try:
        wait_until(lambda: record.id in ids(), "the record, by another worker")
    finally:
        following.stop()
    assert files(tmp_path) == []


KILLED = """
import os, signal, sys
from pathlib import Path
import django
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nimbus_project.settings")
django.setup()
from invocations import rows
from invocations.journal import Journal
from tests.runs import run
journal = Journal(Path(sys.argv[1]), "killed", rows.HEADING)
for _ in range(50):
    record = run()
    journal.append(rows.lines_of(record))
    print(record.id)
sys.stdout.flush()
os.write(journal._fd, rows.lines_of(run())[:100])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_workers_journal_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While this worker lives and has records of its own; nobody else's are touched."""
    monkeypatch.setattr(scribes, "TAKE_OVER_EVERY_SEC", 0.1)
    other = Journal(tmp_path / "journal", "another", rows.HEADING)
    others = run()
    other.append(lines_of(others))
    taking = Scribe(redis.connection(), tmp_path / "journal", "w1")
    taking.start()
    try:
        own = run()
        taking.journal.append(lines_of(own))
        command = [sys.executable, "-c", KILLED, str(tmp_path / "journal")]
        killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert killed.returncode == -9, killed.stderr
        answered = set(killed.stdout.split())
        assert len(answered) == 50
        wait_until(lambda: ids() == {own.id} | answered, "the records of the killed one")
        wait_until(lambda: not list((tmp_path / "journal").glob("killed*")), "its files to go")
    finally:
        taking.stop()
    other.close((0, 0))
    assert len(files(tmp_path)) == 2, "the living one's journal and its lock"


@pytest.mark.parametrize("error", [OperationalError("the database is away"), RuntimeError("a bug")])
def test_a_journal_that_can_not_be_taken_over_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(scribes, "TAKE_OVER_EVERY_SEC", 0.1)
    left = Journal(tmp_path / "journal", "left", rows.HEADING)
    record = run()
    left.append(lines_of(record))
    left.close((0, 0))
    keep = ledger.store
    tries: list[int] = []

    def away(heading: bytes, lines: bytes) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise error
        keep(heading, lines)

    monkeypatch.setattr(ledger, "store", away)
    taking = Scribe(redis.connection(), tmp_path / "journal", "w1")
    taking.start()
    try:
        wait_until(lambda: ids() == {record.id}, "the record")
    finally:
        taking.stop()
    assert files(tmp_path) == []
