"""`max_concurrency` of queued runs over several workers: short leases in Redis, renewed by each, free soon after one
has died."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from redis.exceptions import RedisError

from invocations import slots
from nimbus_project.core import redis
from nimbus_project.core.ids import new_id
from tests.integration.plane import in_threads
from tests.services import RedisServer, wait_until
from workers import held_slots
from workers.held_slots import HeldSlots

LIMIT = 3
LONG_SEC, SHORT_SEC = 60.0, 0.5


@pytest.fixture(autouse=True)
def _empty_redis(redis_server: RedisServer) -> None:
    redis.connection().flushall()


@pytest.fixture
def function_id() -> str:
    return str(new_id())


@pytest.fixture
def renewing() -> Iterator[HeldSlots]:
    """A living worker's: a heart renews them far more often than they run out."""
    held, stop = HeldSlots(SHORT_SEC), threading.Event()

    def beat() -> None:
        while not stop.wait(SHORT_SEC / 20):
            held.renew()

    heart = threading.Thread(target=beat)
    heart.start()
    yield held
    stop.set()
    heart.join(10)


def expiries(function_id: str) -> dict[str, float]:
    """Slot by the Redis server's milliseconds."""
    found = redis.connection().zrange(slots.key(function_id), 0, -1, withscores=True)
    return {slot.decode(): at for slot, at in found}


def test_the_limit_holds_over_all_workers_that_ask_at_once(function_id: str) -> None:
    workers = [HeldSlots(LONG_SEC) for _ in range(4)]
    taken = in_threads(32, lambda n: workers[n % 4].take(function_id, f"slot-{n}", LIMIT))
    assert sorted(map(str, taken)) == ["False"] * 29 + ["True"] * LIMIT
    assert HeldSlots(LONG_SEC).take(str(new_id()), "another function's", LIMIT)


def test_one_that_is_given_back_is_another_worker_s(function_id: str) -> None:
    one, two = HeldSlots(LONG_SEC), HeldSlots(LONG_SEC)
    assert one.take(function_id, "a", 1)
    assert not two.take(function_id, "b", 1)
    one.release("a")
    assert two.take(function_id, "b", 1)
    one.renew()
    assert set(expiries(function_id)) == {"b"}, "what was given back is not renewed"


def test_a_dead_worker_s_run_out(function_id: str, renewing: HeldSlots) -> None:
    dead = HeldSlots(SHORT_SEC)
    assert dead.take(function_id, "of the dead", 2)
    assert renewing.take(function_id, "of the living", 2)
    assert not renewing.take(function_id, "more", 2)
    wait_until(lambda: renewing.take(function_id, "more", 2), 30, "the dead worker's slot to run out")
    assert set(expiries(function_id)) == {"of the living", "more"}


def test_a_living_worker_s_do_not(function_id: str, renewing: HeldSlots) -> None:
    assert renewing.take(function_id, "a", 1)
    first = expiries(function_id)["a"]
    # Three leases long, by the clock that decides.
    wait_until(lambda: expiries(function_id)["a"] > first + 3 * SHORT_SEC * 1000, 30, "the lease to be renewed often")
    assert not HeldSlots(SHORT_SEC).take(function_id, "b", 1)


def test_a_redis_that_comes_back_empty_learns_what_is_held(function_id: str) -> None:
    held = HeldSlots(LONG_SEC)
    assert held.take(function_id, "a", 1)
    redis.connection().flushall()
    held.renew()
    assert not HeldSlots(LONG_SEC).take(function_id, "b", 1)
    held.release("a")
    assert HeldSlots(LONG_SEC).take(function_id, "b", 1)


def test_without_redis_none_is_taken_and_giving_back_is_no_error(
    function_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = HeldSlots(SHORT_SEC)
    assert held.take(function_id, "a", 1)

    def away(*_: object) -> None:
        raise RedisError("gone")

    with monkeypatch.context() as outage:
        outage.setattr(held_slots.services, "release_slot", away)
        outage.setattr(held_slots.services, "take_slot_for", away)
        with pytest.raises(RedisError):
            held.take(function_id, "b", 1)
        held.release("a")
    held.renew()
    # Neither is renewed any more: what Redis still has runs out by itself.
    wait_until(lambda: held.take(function_id, "c", 1), 30, "the lease to run out")


def test_nothing_held_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(held_slots.slots, "renew", asked)
    HeldSlots(LONG_SEC).renew()
