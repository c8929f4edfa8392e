"""`max_concurrency` over all processes: exact, given back, and never lost for good."""

from __future__ import annotations

from dataclasses import replace

import pytest

from functions.directory import LiveFunction
from invocations import services, slots
from nimbus_project.core import redis
from nimbus_project.core.ids import new_id
from tests.integration.plane import in_threads, wait_until
from tests.services import RedisServer

FUNCTION = LiveFunction(
    id=str(new_id()),
    name="f",
    status="active",
    runtime="python3.11",
    version=1,
    timeout_sec=30,
    max_concurrency=5,
    max_retries=2,
    max_event_age_sec=60,
    owner_id=None,
    shared=False,
)


def take(function: LiveFunction, run_id: str) -> bool:
    lease_ms = slots.lease_ms(function.timeout_sec, 30.0)
    return services.take_slot_for(function.id, run_id, function.max_concurrency, lease_ms)


@pytest.fixture(autouse=True)
def _empty_redis(redis_server: RedisServer) -> None:
    redis.connection().flushall()


def test_no_more_than_the_limit_however_many_ask_at_once() -> None:
    taken = in_threads(32, lambda n: take(FUNCTION, f"run-{n}"))
    assert sorted(map(str, taken)) == ["False"] * 27 + ["True"] * 5


def test_one_given_back_is_one_to_take() -> None:
    held = [take(FUNCTION, f"run-{n}") for n in range(6)]
    assert held == [True] * 5 + [False]
    services.release_slot(FUNCTION.id, "run-0")
    assert take(FUNCTION, "run-6")
    assert not take(FUNCTION, "run-7")


def test_giving_back_what_one_has_not_changes_nothing() -> None:
    one = replace(FUNCTION, max_concurrency=1)
    assert take(one, "a")
    services.release_slot(one.id, "b")
    assert not take(one, "c")


def test_asking_twice_takes_one() -> None:
    two = replace(FUNCTION, max_concurrency=2)
    assert take(two, "a") and take(two, "a")
    assert take(two, "b")
    assert not take(two, "c")


def test_functions_do_not_share() -> None:
    one, other = replace(FUNCTION, max_concurrency=1), replace(FUNCTION, id="other", max_concurrency=1)
    assert take(one, "a") and take(other, "a")


def test_what_a_dead_process_held_is_free_when_its_lease_ends() -> None:
    script = redis.connection().register_script(slots.take_script())
    key = slots.key("f")
    assert script(keys=[key], args=["dead", 1, 150])
    assert not script(keys=[key], args=["next", 1, 150])
    wait_until(lambda: script(keys=[key], args=["next", 1, 1000]), "the lease to end")


def test_a_key_without_use_disappears() -> None:
    assert take(FUNCTION, "a")
    assert 0 < redis.connection().pttl(slots.key(FUNCTION.id)) <= slots.lease_ms(30, 60) + 60_000


def test_a_slot_is_held_longer_than_a_run_can_last() -> None:
    assert slots.lease_ms(300, 30.0) > (300 + 30) * 1000
