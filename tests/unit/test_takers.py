"""Takers: threads that take what waits, and a look-out that finds it. Neither dies of what goes wrong."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
import redis.exceptions
from django.db import OperationalError

from tests.services import wait_until
from workers import takers
from workers.takers import FIRST, Takers, Took

DUE = datetime(2020, 1, 1, tzinfo=UTC)
NOT_YET = datetime(2999, 1, 1, tzinfo=UTC)
A, B, C = (UUID(int=n) for n in (1, 2, 3))


class Backlog:
    """Rows by function, and who is at it."""

    def __init__(self, **rows: int) -> None:
        self.left = Counter({UUID(int="_abc".index(name)): count for name, count in rows.items()})
        self.due = DUE
        self.asked: list[tuple[UUID, int]] = []
        self.taken: list[UUID] = []
        self.running: Counter[UUID] = Counter()
        self.most: Counter[UUID] = Counter()
        self.most_at_once = 0
        self.limit: dict[UUID, int] = {}
        self.errors: list[Exception] = []
        self.look_errors: list[Exception] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self._lock = threading.Lock()

    def waiting(self, after: UUID, limit: int) -> list[tuple[UUID, datetime]]:
        self.asked.append((after, limit))
        if self.look_errors:
            raise self.look_errors.pop()
        return [(key, self.due) for key in sorted(self.left) if key > after and self.left[key]][:limit]

    def take_one(self, function_id: str) -> Took:
        key = UUID(function_id)
        with self._lock:
            if self.errors:
                raise self.errors.pop()
            if self.running[key] >= self.limit.get(key, 1000):
                return Took.AT_LIMIT
            if not self.left[key]:
                return Took.NONE
            self.left[key] -= 1
            self.running[key] += 1
            self.most[key] = max(self.most[key], self.running[key])
            self.most_at_once = max(self.most_at_once, self.running.total())
        self.go_on.wait(30)
        with self._lock:
            self.running[key] -= 1
            self.taken.append(key)
        return Took.ONE


Start = Callable[[Backlog, int], Takers]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr(takers, "LOOK_IDLE_SEC", 0.02)
    monkeypatch.setattr(takers, "LOOK_BUSY_SEC", 0.02)
    begun: list[tuple[Takers, Backlog]] = []

    def started(backlog: Backlog, size: int) -> Takers:
        made = Takers("rows", size, backlog.waiting, backlog.take_one)
        begun.append((made, backlog))
        made.start()
        return made

    yield started
    for made, backlog in begun:
        backlog.go_on.set()
        made.stop()
        made.join(10)
    assert threads() == 0, "a thread is left"


def threads() -> int:
    return sum(thread.name.startswith("nimbus-rows") for thread in threading.enumerate())


def test_rows_are_found_without_any_message(start: Start) -> None:
    backlog = Backlog(a=20, b=1, c=3)
    start(backlog, 4)
    wait_until(lambda: Counter(backlog.taken) == {A: 20, B: 1, C: 3}, what="all rows to be taken")


def test_a_message_needs_no_look(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takers, "LOOK_IDLE_SEC", 3600.0)
    monkeypatch.setattr(takers, "LOOK_BUSY_SEC", 3600.0)
    backlog = Backlog(a=5, b=1)
    workers = start(backlog, 2)
    workers.wake(str(A))
    wait_until(lambda: backlog.taken == [A] * 5, what="the rows of the function")
    workers.wake(str(B))
    wait_until(lambda: backlog.taken[5:] == [B], what="the other one's")
    assert backlog.asked == []


def test_a_look_goes_on_behind_the_one_before(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takers, "LOOK_AT", 2)
    backlog = Backlog(a=1, b=1, c=1)
    backlog.due = NOT_YET
    start(backlog, 1)
    wait_until(lambda: len(backlog.asked) >= 4, what="some looks")
    assert backlog.asked[:4] == [(FIRST, 2), (B, 2), (FIRST, 2), (B, 2)]
    assert backlog.taken == []
    backlog.due = DUE
    wait_until(lambda: sorted(backlog.taken) == [A, B, C], what="rows that are due now")


@pytest.mark.parametrize(
    "error",
    [OperationalError("gone"), redis.exceptions.ConnectionError("gone"), ValueError("a bug")],
    ids=["database", "redis", "bug"],
)
def test_threads_outlive_what_goes_wrong(start: Start, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setitem(takers._PUT_OFF_SEC, "failed", 0.02)
    backlog = Backlog(a=3)
    backlog.errors = [error] * 12
    backlog.look_errors = [error] * 3
    start(backlog, 3)
    wait_until(lambda: backlog.taken == [A] * 3, what="the rows after the errors")
    assert threads() == 4


def test_an_outage_is_told_once_and_a_bug_each_time(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(takers._PUT_OFF_SEC, "failed", 0.0)
    backlog = Backlog(a=1)
    backlog.errors = [ValueError("a bug"), *[OperationalError("gone") for _ in range(20)]]
    backlog.look_errors = [OperationalError("gone")] * 5
    start(backlog, 1)
    wait_until(lambda: backlog.taken == [A], what="the row after the errors")
    wait_until(lambda: any("over: rows" in record.getMessage() for record in caplog.records), what="the end told")
    said = Counter((record.levelno, record.getMessage()) for record in caplog.records if record.name == "nimbus.takers")
    assert said == {
        (logging.WARNING, "nobody knows which rows wait"): 1,
        (logging.WARNING, "over: nobody knows which rows wait"): 1,
        (logging.WARNING, "rows can't be taken"): 1,
        (logging.WARNING, "over: rows can't be taken"): 1,
        (logging.ERROR, "queued work can't be done"): 1,
    }


def test_a_connection_that_can_not_be_given_back_ends_no_thread(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(takers, "close_old_connections", fails)
    backlog = Backlog(a=4)
    backlog.errors = [ValueError()]
    start(backlog, 2)
    wait_until(lambda: backlog.taken == [A] * 4, 30, "the rows")
    assert threads() == 3


def test_never_more_than_there_are_places_and_one_function_leaves_one(start: Start) -> None:
    backlog = Backlog(a=50)
    backlog.go_on.clear()
    workers = start(backlog, 8)
    wait_until(lambda: backlog.running[A] == 6, what="three quarters")
    backlog.left[B] = 1
    workers.wake(str(B))
    wait_until(lambda: backlog.running[B] == 1, what="the other function beside the slow one")
    assert backlog.running[A] == 6
    backlog.go_on.set()
    wait_until(lambda: Counter(backlog.taken) == {A: 50, B: 1}, what="the rest")
    assert backlog.most_at_once <= 8 and backlog.most[A] <= 6


def test_one_at_its_limit_holds_nobody_up_and_goes_on_at_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without `free_again` it would wait for an hour.
    monkeypatch.setitem(takers._PUT_OFF_SEC, "at limit", 3600.0)
    backlog = Backlog(a=2, b=6)
    backlog.limit = {A: 0}
    workers = start(backlog, 2)
    wait_until(lambda: backlog.taken == [B] * 6, what="the function without a limit")
    backlog.limit = {}
    workers.free_again(str(A))
    wait_until(lambda: backlog.taken[6:] == [A, A], what="the one that was at its limit")


def test_after_stop_nothing_is_taken_and_what_runs_may_end(start: Start) -> None:
    backlog = Backlog(a=10)
    backlog.go_on.clear()
    workers = start(backlog, 4)
    wait_until(lambda: backlog.running[A] == 3, what="three that run")
    workers.stop()
    workers.join(0.0)
    assert threads() >= 3
    backlog.go_on.set()
    workers.join(10)
    assert threads() == 0
    assert (len(backlog.taken), backlog.left[A]) == (3, 7)
