"""Schedules on the real platform: two beats and two web processes, each second once; and no backlog holds the clock."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
import pytest

from nimbus_project.supervisor import parts
from tests.acceptance.two_webs import TwoWebs, second_web
from tests.platform import PartServer, Platform, PlatformOptions
from tests.services import wait_until

THREADS = 2
SLOW_SEC = 10
SLOW = f"import time\ndef main(event):\n    time.sleep({SLOW_SEC})\n    return 1\n"
TELL = "def main(event):\n    return event.get('scheduled_at')\n"

OPTIONS = {
    "NIMBUS_WORKER_THREADS": str(THREADS),
    # Shorter than what keeps all threads: a tick that had to wait for one of them would come too late.
    "NIMBUS_CRON_GRACE_SEC": "6",
    # Calls go by the queue only, and wait there: it is Celery's threads that are to be taken.
    "NIMBUS_DIRECT_BACKLOG": "0",
    "NIMBUS_QUEUE_WAIT_SEC": "90",
}

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.parametrize("platform", [PlatformOptions(beat=False, env=OPTIONS)], indirect=True),
]


@contextmanager
def two_beats(platform: Platform) -> Iterator[None]:
    """Both started at the same moment, on tables where no beat has been before."""
    beats = [
        PartServer(lambda n=number: replace(parts.beat(), name=f"beat-{n}"), platform.var_dir, platform.env)
        for number in (1, 2)
    ]
    try:
        for beat in beats:
            beat.start()
        yield
        assert all(beat.running for beat in beats), "\n".join(beat.logs() for beat in beats)
    finally:
        for beat in beats:
            beat.stop()


@pytest.fixture(scope="module")
def webs(platform: Platform) -> Iterator[TwoWebs]:
    with two_beats(platform), second_web(platform) as webs:
        yield webs


def make(client: httpx.Client, **values: Any) -> str:
    answer = client.post("/schedules", json={"cron_expression": "*/1 * * * * *"} | values)
    assert answer.status_code == 201, answer.text
    made: str = answer.json()["id"]
    return made


def history(client: httpx.Client, schedule_id: str, **query: Any) -> list[dict[str, Any]]:
    """All of it, oldest first."""
    found: list[dict[str, Any]] = []
    while True:
        params = {"limit": 100, "offset": len(found)} | query
        page = client.get(f"/schedules/{schedule_id}/history", params=params).json()
        found += page["history"]
        if len(found) >= page["total"]:
            return found[::-1]


def count(client: httpx.Client, schedule_id: str) -> int:
    total: int = client.get(f"/schedules/{schedule_id}/history", params={"status": "fired", "limit": 1}).json()["total"]
    return total


def stop(client: httpx.Client, schedule_id: str) -> None:
    assert client.post(f"/schedules/{schedule_id}/pause").json()["enabled"] is False


def check(fires: list[dict[str, Any]]) -> float:
    """Each second is there once, fired, with a run of its own. The latest of them, in seconds."""
    times = [datetime.fromisoformat(fire["fire_time"]) for fire in fires]
    assert {later - earlier for earlier, later in pairwise(times)} == {timedelta(seconds=1)}
    assert {fire["status"] for fire in fires} == {"fired"}
    assert len({fire["invocation_id"] for fire in fires}) == len(fires)
    late = (datetime.fromisoformat(fire["created_at"]) - at for fire, at in zip(fires, times, strict=True))
    return max(late).total_seconds()


def test_each_second_once(platform: Platform, webs: TwoWebs, capsys: pytest.CaptureFixture[str]) -> None:
    webs.create("tell", TELL)
    schedule_id = make(webs.first, function="tell")
    wait_until(lambda: count(webs.second, schedule_id) >= 15, 60, "fifteen ticks")
    stop(webs.second, schedule_id)
    fires = history(webs.first, schedule_id)
    latest = check(fires)

    def runs() -> dict[str, Any]:
        listed = webs.second.get("/functions/tell/invocations?trigger_type=cron&limit=100").json()
        return {run["id"]: run for run in listed["invocations"]}

    wait_until(lambda: {run["status"] for run in runs().values()} == {"success"}, 30, "all runs to end")
    found = runs()
    assert set(found) == {fire["invocation_id"] for fire in fires}
    for fire in fires:
        assert found[fire["invocation_id"]]["output"] == fire["fire_time"]
    assert count(webs.first, schedule_id) == len(fires)
    assert "nimbus_cron_fires_total" in platform.client.get("/metrics").text
    with capsys.disabled():
        print(f"\n    {len(fires)} ticks by two beats, the latest {latest * 1000:.0f} ms after its second")


def test_a_function_of_its_own_is_followed_without_a_restart(webs: TwoWebs) -> None:
    webs.create("own", TELL)
    set_to = {"cron_expression": "*/1 * * * * *", "cron_timezone": "Australia/Lord_Howe"}
    assert webs.first.put("/functions/own", json=set_to).status_code == 200

    def fired() -> int:
        total: int = webs.second.get("/functions/own/invocations?trigger_type=cron").json()["total"]
        return total

    wait_until(lambda: fired() >= 3, 60, "three ticks")
    assert webs.second.put("/functions/own", json={"cron_expression": "0 0 1 1 *"}).status_code == 200
    (row,) = webs.first.get("/schedules?function_id=own").json()["schedules"]
    assert row["own"] and row["cron_expression"] == "0 0 1 1 *"
    assert datetime.fromisoformat(row["next_fire_at"]).hour == 13  # midnight of Lord Howe's summer


def test_no_backlog_holds_the_clock(webs: TwoWebs, capsys: pytest.CaptureFixture[str]) -> None:
    """Every thread of the only worker is taken for longer than the grace, and more calls wait for one."""
    webs.create("tell-too", TELL)
    body = {"name": "slow", "runtime": "python3.11", "handler": "handler.main", "code": SLOW}
    assert webs.first.post("/functions", json=body).status_code == 201
    schedule_id = make(webs.first, function="tell-too")
    with ThreadPoolExecutor(2 * THREADS) as pool:
        calls = [pool.submit(webs.first.post, "/functions/slow/invoke", json={}) for _ in range(2 * THREADS)]
        wait_until(lambda: all(call.done() for call in calls), 90, "the slow calls")
    assert {call.result().status_code for call in calls} == {200}
    stop(webs.first, schedule_id)
    fires = history(webs.first, schedule_id)
    assert len(fires) >= 2 * SLOW_SEC - 1
    latest = check(fires)
    with capsys.disabled():
        print(f"\n    with every thread taken, the latest of {len(fires)} {latest * 1000:.0f} ms after its second")
