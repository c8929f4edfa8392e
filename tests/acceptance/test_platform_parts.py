"""The platform as processes: on both databases and both drivers, and after the death of any part."""

from __future__ import annotations

import pytest

from tests.platform import Platform, PlatformOptions
from tests.services import wait_until

CODE = "def main(event):\n    return event"
BODY = {"name": "echo", "runtime": "python3.11", "handler": "handler.main", "code": CODE}


@pytest.mark.parametrize(
    "platform",
    [
        PlatformOptions(driver="process", database="sqlite"),
        PlatformOptions(driver="process", database="postgres"),
        PlatformOptions(driver="docker", database="postgres"),
    ],
    indirect=True,
    ids=["process-sqlite", "process-postgres", "docker-postgres"],
)
def test_calls_are_answered_again_after_each_part_has_died(platform: Platform) -> None:
    assert platform.client.post("/api/v1/functions", json=BODY).status_code == 201
    assert _answer(platform, 1) == {"n": 1}

    platform.web.kill9()
    platform.start_web()
    assert _answer(platform, 2) == {"n": 2}

    platform.redis.kill9()
    platform.start_redis()
    platform.wait_ready()
    wait_until(lambda: _status(platform) == 200, 30, "a call is answered after Redis came back empty")

    platform.worker.kill9()
    platform.start_worker()
    wait_until(lambda: _status(platform) == 200, 60, "a call is answered by the new worker")


def _answer(platform: Platform, n: int) -> object:
    return platform.client.post("/api/v1/functions/echo/invoke", json={"n": n}).json()["body"]


def _status(platform: Platform) -> int:
    return platform.client.post("/api/v1/functions/echo/invoke", json={}).status_code
