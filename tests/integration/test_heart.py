"""The heart: a database that makes its callers wait makes no living worker look dead, and a Redis that does no run look
abandoned."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from invocations import lifecycle
from nimbus_project.core import fleet, redis
from nimbus_project.core.fleet import WorkerState
from nimbus_project.core.ids import new_id
from tests.services import RedisServer, wait_until
from workers import heart
from workers.heart import Heart

WORKER = "w-1"


class Stuck:
    """A call that does not come back until it is let go."""

    def __init__(self) -> None:
        self.entered, self.go_on = threading.Event(), threading.Event()

    def __call__(self, *_: object) -> int:
        self.entered.set()
        self.go_on.wait(60)
        return 1


@pytest.fixture
def worker(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Any:
    redis.connection().flushall()
    monkeypatch.setattr(fleet, "BEAT_SEC", 0.02)
    monkeypatch.setattr(heart, "close_old_connections", lambda: None)
    monkeypatch.setattr(heart.builds, "renew", lambda *_: 0)
    return SimpleNamespace(
        id=WORKER,
        client=redis.connection(),
        settings=SimpleNamespace(lease_sec=0.03),
        invocations={"a": SimpleNamespace(pk=new_id())},
        builds={},
        slots=SimpleNamespace(renew=lambda: None),
        state=lambda: WorkerState(id=WORKER, node="n", pid=1, driver="process", started_at=0.0, threads=1),
    )


@pytest.fixture
def beating(worker: Any) -> Iterator[Heart]:
    made = Heart(worker)
    yield made
    made.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nimbus-heart")]


def is_told_again() -> bool:
    """A heartbeat that came after this question."""
    redis.connection().delete(redis.WORKERS)
    wait_until(lambda: redis.connection().zscore(redis.WORKERS, WORKER), 30, "a heartbeat")
    return [state.id for state in fleet.living(redis.connection())] == [WORKER]


def test_a_database_that_hangs_costs_no_heartbeat(beating: Heart, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Stuck()
    monkeypatch.setattr(lifecycle, "renew", stuck)
    beating.start()
    assert stuck.entered.wait(30)
    assert is_told_again() and is_told_again()
    stuck.go_on.set()


def test_a_redis_that_hangs_costs_no_lease(beating: Heart, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, renewed = Stuck(), []
    monkeypatch.setattr(fleet, "announce", stuck)
    monkeypatch.setattr(lifecycle, "renew", lambda *given: renewed.append(given))
    beating.start()
    assert stuck.entered.wait(30)
    wait_until(lambda: len(renewed) > 5, 30, "leases to be renewed")
    stuck.go_on.set()


def test_what_nobody_foresaw_ends_no_heart(beating: Heart, worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    renewed: list[object] = []
    errors = [ZeroDivisionError()] * 3

    def renew(*given: object) -> None:
        if errors:
            raise errors.pop()
        renewed.append(given)

    slot_errors, slots = [ZeroDivisionError()] * 3, []

    def renew_slots() -> None:
        if slot_errors:
            raise slot_errors.pop()
        slots.append(1)

    monkeypatch.setattr(lifecycle, "renew", renew)
    worker.slots.renew = renew_slots
    beating.start()
    wait_until(lambda: len(renewed) > 2 and len(slots) > 2, 30, "both to be renewed after the errors")
    assert is_told_again()
