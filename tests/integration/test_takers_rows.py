"""Two workers' takers on real rows: each row is run once, and a function never more often at once than it may."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from uuid import UUID

import pytest
from django.db import OperationalError, connections
from django.utils import timezone

from invocations import backlog, lifecycle
from invocations.models import Invocation
from invocations.outcome import Outcome, Status
from nimbus_project.core.ids import new_id
from tests.integration.plane import make_row
from tests.services import wait_until
from workers import takers
from workers.held_slots import HeldSlots
from workers.takers import Takers, Took

pytestmark = pytest.mark.usefixtures("transactional_db")

LIMIT = 2


class Worker:
    """Takes rows as `queued.take_one` does; a run is a moment in which others may run."""

    ran: Counter[UUID]
    running: Counter[str]
    most: Counter[str]
    lock = threading.Lock()

    def __init__(self, name: str, limited: str) -> None:
        self.name = name
        self.limited = limited
        self.slots = HeldSlots(10.0)
        self.failures = 0
        self.takers = Takers(name, 4, partial(backlog.waiting, Invocation), self.take_one)

    def take_one(self, function_id: str) -> Took:
        slot = str(new_id()) if function_id == self.limited else ""
        if slot and not self.slots.take(function_id, slot, LIMIT):
            return Took.AT_LIMIT
        try:
            return self._take(function_id)
        finally:
            if slot:
                self.slots.release(slot)
                self.takers.free_again(function_id)

    def _take(self, function_id: str) -> Took:
        if self.failures:
            self.failures -= 1
            raise OperationalError("the connection is closed")
        row = lifecycle.claim(UUID(function_id), self.name, timezone.now(), 30.0)
        if row is None:
            return Took.NONE
        with self.lock:
            self.ran[row.pk] += 1
            self.running[function_id] += 1
            self.most[function_id] = max(self.most[function_id], self.running[function_id])
        assert lifecycle.finish(row, Outcome(status=Status.SUCCESS, output=b"1"), None, timezone.now(), 0.0)
        with self.lock:
            self.running[function_id] -= 1
        return Took.ONE


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Worker]]:
    monkeypatch.setattr(takers, "LOOK_IDLE_SEC", 0.05)
    monkeypatch.setattr(takers, "LOOK_BUSY_SEC", 0.05)
    monkeypatch.setitem(takers._PUT_OFF_SEC, "failed", 0.05)
    Worker.ran, Worker.running, Worker.most = Counter(), Counter(), Counter()
    limited = str(new_id())
    workers = [Worker(name, limited) for name in ("one", "two")]
    yield workers
    for worker in workers:
        worker.takers.stop()
    for worker in workers:
        worker.takers.join(20)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("nimbus-one", "nimbus-two"))]
    connections.close_all()


def ended() -> int:
    return Invocation.objects.filter(status=Status.SUCCESS).count()


def test_each_row_once_and_no_more_at_once_than_allowed(two: list[Worker]) -> None:
    functions = [UUID(two[0].limited), new_id(), new_id()]
    rows = [make_row(timezone.now(), function_id=function_id) for function_id in functions for _ in range(25)]
    for worker in two:
        worker.failures = 3
        worker.takers.start()
    wait_until(lambda: ended() == len(rows), 60, "all rows to be run")
    assert Worker.ran == {row.pk: 1 for row in rows}
    assert Worker.most[two[0].limited] <= LIMIT
    # Those that come when all is quiet.
    late = [make_row(timezone.now(), function_id=functions[1]) for _ in range(3)]
    wait_until(lambda: ended() == len(rows) + 3, 60, "the late ones")
    assert [Worker.ran[row.pk] for row in late] == [1, 1, 1]
