"""Quotas, secrets and environments on the platform as it runs: two web processes, a worker, real limits."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.quotas import limit
from tests.acceptance.two_webs import TwoWebs, second_web
from tests.platform import Platform, PlatformOptions
from tests.services import wait_until

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.parametrize(
        "platform",
        [PlatformOptions(), PlatformOptions(database="sqlite")],
        ids=["auto", "sqlite"],
        indirect=True,
        scope="module",
    ),
]

VALUE = "correct-horse-battery-staple"
TELL = "import os\ndef main(event):\n    return os.environ.get('TOKEN')\n"


@pytest.fixture
def unlimited(platform: Platform) -> Iterator[None]:
    """No limit afterwards, whatever came of the test."""
    yield
    limit(platform)


@pytest.fixture(scope="module")
def webs(platform: Platform) -> Iterator[TwoWebs]:
    with second_web(platform) as webs:
        yield webs


def at_once(webs: TwoWebs, count: int, path: str, body: object = None) -> Counter[int]:
    """So many POSTs at the same moment, over both web processes in turn; a `{n}` in the body's name is its number."""

    async def all_of_them() -> list[int]:
        limits = httpx.Limits(max_connections=count)
        clients = [httpx.AsyncClient(base_url=base, timeout=60, limits=limits) for base in webs.bases]

        async def one(number: int) -> int:
            given = body | {"name": f"f{number}"} if isinstance(body, dict) else body
            answer = await clients[number % 2].post(path, json=given)
            return answer.status_code

        statuses = await asyncio.gather(*map(one, range(count)))
        for client in clients:
            await client.aclose()
        return list(statuses)

    return Counter(asyncio.run(all_of_them()))


@pytest.mark.usefixtures("unlimited")
def test_of_100_creates_at_once_10_are_made(platform: Platform, webs: TwoWebs) -> None:
    limit(platform, max_functions=10)
    source = {"runtime": "python3.11", "handler": "handler.main", "code": TELL}
    assert at_once(webs, 100, "/functions", source) == {201: 10, 403: 90}
    assert webs.second.get("/functions").json()["total"] == 10
    assert webs.second.get("/quota").json()["function_usage_percent"] == 100.0
    limit(platform)
    ids = [one["id"] for one in webs.first.get("/functions?limit=100").json()["functions"]]
    assert len(webs.first.post("/functions/bulk-delete", json={"ids": ids}).json()["success"]) == 10


@pytest.mark.usefixtures("unlimited")
def test_the_days_calls_stop_at_the_limit_also_after_redis_forgot(platform: Platform, webs: TwoWebs) -> None:
    webs.create("counted", TELL)
    used = webs.first.get("/quota").json()["today_invocations"]
    limit(platform, max_invocations_per_day=used + 40)
    assert at_once(webs, 100, "/functions/counted/invoke", {}) == {200: 40, 429: 60}
    refused = webs.second.post("/functions/counted/async", json={})
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert 0 < int(refused.headers["retry-after"]) <= 86_401
    limit(platform, max_invocations_per_day=used + 50)
    wait_until(lambda: _stored(webs, "counted") == 41, 10, "all runs are in the database")
    platform.redis.kill9()
    platform.start_redis()
    platform.wait_ready()
    after = at_once(webs, 60, "/functions/counted/async", {})
    assert after[202] == 10 and after[202] + after[429] == 60, after
    limit(platform)
    assert webs.first.post("/functions/counted/invoke", json={}).status_code == 200


def _stored(webs: TwoWebs, name: str) -> int:
    total: int = webs.first.get(f"/functions/{name}/invocations").json()["total"]
    return total


def test_a_secret_changed_here_is_live_there_within_a_second(
    platform: Platform, webs: TwoWebs, capsys: pytest.CaptureFixture[str]
) -> None:
    webs.create("tell", TELL)
    took = []
    for number in range(10):
        value = f"{VALUE}-{number}"
        assert webs.first.put("/functions/tell/secrets/TOKEN", json={"value": value}).status_code in (200, 201)
        began = time.monotonic()
        wait_until(lambda v=value: _told(webs.second) == v, 1.0, "the new value elsewhere")
        took.append((time.monotonic() - began) * 1000)
        assert _told(webs.first) == value
    with capsys.disabled():
        print(f"\n    a secret's change in the other web process, first call included: at most {max(took):.0f} ms")


def _told(client: httpx.Client) -> object:
    answer = client.post("/functions/tell/invoke", json={})
    assert answer.status_code == 200, answer.text
    return answer.json()["body"]


def test_the_value_is_in_no_log_and_no_file(platform: Platform, webs: TwoWebs) -> None:
    # It uses the secret, and keeps it to itself: what a function returns is stored.
    webs.create("quiet", "import os\ndef main(event):\n    return len(os.environ.get('TOKEN', ''))\n")
    webs.first.put("/functions/quiet/secrets/TOKEN", json={"value": VALUE + "-quiet"})
    webs.first.put("/functions/quiet/secrets/NIMBUS_NO", json={"value": VALUE + "-quiet"})
    assert webs.first.post("/functions/quiet/async", json={}).status_code == 202
    assert webs.first.post("/functions/quiet/invoke", json={}).json()["body"] == len(VALUE + "-quiet")
    needle = (VALUE + "-quiet").encode()
    assert needle.decode() not in platform.logs()
    assert [path for path in _files(platform.var_dir) if needle in path.read_bytes()] == []


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]


def test_an_environment_made_here_is_known_there_within_a_second(webs: TwoWebs) -> None:
    webs.create("env", TELL)
    assert webs.first.post("/environments", json={"name": "staging"}).status_code == 201
    webs.first.put("/functions/env/environments/staging", json={"env_vars": {"TOKEN": "staging"}})

    def there() -> bool:
        answer = webs.second.post("/functions/env/invoke?environment=staging", json={})
        return answer.status_code == 200 and answer.json()["body"] == "staging"

    wait_until(there, 1.0, "the environment in the other web process")
    assert webs.second.post("/functions/env/invoke?environment=other", json={}).status_code == 404
    assert webs.second.post("/functions/env/invoke", json={}).json()["body"] is None
