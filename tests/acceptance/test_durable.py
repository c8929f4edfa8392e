"""Accepted means run, whatever dies: worker, Redis or web, killed in the middle of 200 invocations."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.acceptance.caller import Caller
from tests.platform import Platform, PlatformOptions
from tests.services import wait_until

COUNT = 200
WITHIN_SEC = 30.0
"""From the new start of what was killed to the end of all."""

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.parametrize(
        "platform", [PlatformOptions(), PlatformOptions(database="sqlite")], indirect=True, ids=["auto", "sqlite"]
    ),
]


def send_all(caller: Caller, name: str) -> list[str]:
    """All accepted, of one function; each takes long enough to be caught at it."""
    caller.create(name, memory_mb=128)
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda token: caller.send(name, {"token": token, "sec": 0.3}), range(COUNT)))


def in_the_middle(caller: Caller, name: str) -> None:
    def begun() -> bool:
        counts = caller.statuses(name)
        assert counts.get("success", 0) < COUNT, "too fast to be caught in the middle"
        return counts.get("success", 0) >= 10 and counts.get("running", 0) >= 1

    wait_until(begun, 60, "the first of them to end")


def all_end(caller: Caller, name: str, ids: list[str], since: float) -> list[dict[str, Any]]:
    """Their rows, in the order of `ids`; fails when one is lost or late."""
    left = WITHIN_SEC - (time.monotonic() - since)
    wait_until(lambda: caller.statuses(name) == {"success": COUNT}, left, "all of them to end")
    rows = {row["id"]: row for row in caller.all_of(name)}
    assert set(rows) == set(ids)
    return [rows[each] for each in ids]


def check(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each has its own answer, and its attempts add up. Those that were tried more than once."""
    for token, row in enumerate(rows):
        attempts = row.get("attempts", [])
        assert row["output"] == token
        assert row["attempt"] == len(attempts) + 1
        assert row["retry_count"] == len(attempts)
        assert [each["attempt"] for each in attempts] == list(range(1, row["attempt"]))
    return [row for row in rows if row["attempt"] > 1]


def test_a_worker_killed_in_the_middle(caller: Caller, platform: Platform) -> None:
    ids = send_all(caller, "by-worker")
    in_the_middle(caller, "by-worker")
    platform.worker.kill9()
    began = time.monotonic()
    platform.worker.start()
    again = check(all_end(caller, "by-worker", ids, began))
    assert again, "nothing was running when the worker was killed"
    for row in again:
        assert {each["error_type"] for each in row["attempts"]} == {"WorkerLost"}
        assert all(each["worker_id"] and each["started_at"] and each["ended_at"] for each in row["attempts"])


def test_redis_killed_in_the_middle_and_started_empty(caller: Caller, platform: Platform) -> None:
    ids = send_all(caller, "by-redis")
    in_the_middle(caller, "by-redis")
    platform.redis.kill9()
    platform.start_redis()
    check(all_end(caller, "by-redis", ids, time.monotonic()))


def test_the_web_process_killed_right_after_the_last_202(caller: Caller, platform: Platform) -> None:
    ids = send_all(caller, "by-web")
    platform.web.kill9()
    began = time.monotonic()
    platform.start_web()
    check(all_end(caller, "by-web", ids, began))


def test_all_of_them_killed_at_once(caller: Caller, platform: Platform) -> None:
    ids = send_all(caller, "by-all")
    in_the_middle(caller, "by-all")
    for part in (platform.web, platform.redis, platform.worker, platform.beat):
        part.kill9()
    platform.start_redis()
    began = time.monotonic()
    for part in (platform.worker, platform.beat):
        part.start()
    platform.start_web()
    check(all_end(caller, "by-all", ids, began))
