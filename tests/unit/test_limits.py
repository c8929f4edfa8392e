"""What one process does between two questions to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from accounts.limits import Limiter, Standing, tighter


class FakeRedis:
    """Counts as the script does, without time passing; `away` makes it fail."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.questions = 0
        self.away = False

    def register_script(self, _: str) -> Callable[..., Awaitable[list[int]]]:
        async def script(keys: list[str], args: list[Any]) -> list[int]:
            self.questions += 1
            await asyncio.sleep(0)
            if self.away:
                raise RedisConnectionError("away")
            limit, wanted, returned, _ = args
            self.used -= returned
            granted = max(0, min(wanted, limit - self.used))
            self.used += granted
            return [granted, limit - self.used, 60, 1000]

        return script


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make(limit: int) -> tuple[Limiter, FakeRedis, Clock]:
    fake, clock = FakeRedis(limit), Clock()
    return Limiter(fake, clock), fake, clock  # type: ignore[arg-type]


async def count(limiter: Limiter, limit: int, requests: int) -> int:
    taken = await asyncio.gather(*(limiter.take("key:a", limit) for _ in range(requests)))
    return sum(1 for standing in taken if standing is not None and standing.allowed)


@pytest.mark.parametrize("limit", [1, 10, 1199, 1200, 6000])
def test_exactly_the_limit_is_let_in(limit: int) -> None:
    limiter, _, _ = make(limit)
    assert asyncio.run(count(limiter, limit, limit + 50)) == limit


def test_a_generous_limit_rarely_asks() -> None:
    async def spend() -> int:
        return sum([(await limiter.take("key:a", 60_000)).allowed for _ in range(1000)])  # type: ignore[union-attr]

    limiter, fake, _ = make(60_000)
    assert asyncio.run(spend()) == 1000
    assert fake.questions == 10


def test_what_was_not_spent_is_given_back() -> None:
    async def one_a_second() -> None:
        for _ in range(50):
            standing = await limiter.take("key:a", 60_000)
            assert standing is not None and standing.allowed
            clock.now += 1.1

    limiter, fake, clock = make(60_000)
    asyncio.run(one_a_second())
    assert fake.used <= 50 + 100


def test_a_flood_costs_one_question_a_second() -> None:
    async def flood() -> None:
        assert await count(limiter, 5, 5) == 5
        asked = fake.questions
        for _ in range(500):
            refused = await limiter.take("key:a", 5)
            assert refused is not None and not refused.allowed and refused.reset_sec == 60
        assert fake.questions - asked <= 1
        clock.now += 1.1
        await limiter.take("key:a", 5)
        assert fake.questions - asked <= 2

    limiter, fake, clock = make(5)
    asyncio.run(flood())


def test_no_limit_asks_nobody() -> None:
    limiter, fake, _ = make(5)
    assert asyncio.run(limiter.take("key:a", 0)) is None
    assert fake.questions == 0


def test_redis_away_lets_in_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def calls() -> None:
        for _ in range(20):
            assert await limiter.take("key:a", 5) is None
        assert fake.questions == 1
        clock.now += 1.5
        assert await limiter.take("key:a", 5) is None
        assert fake.questions == 2
        fake.away = False
        clock.now += 1.5
        standing = await limiter.take("key:a", 5)
        assert standing is not None and standing.allowed

    limiter, fake, clock = make(5)
    fake.away = True
    asyncio.run(calls())
    assert len([r for r in caplog.records if "rate limits are off" in r.getMessage()]) == 1


def test_headers_and_the_tighter_of_two() -> None:
    one, other = Standing(True, 10, 3, 20), Standing(True, 100, 50, 60)
    assert tighter(one, other) is one and tighter(None, other) is other and tighter(None, None) is None
    assert dict(one.headers()) == {
        b"x-ratelimit-limit": b"10",
        b"x-ratelimit-remaining": b"3",
        b"x-ratelimit-reset": b"20",
    }


async def _at_a_pace(limiter: Limiter, clock: Clock, limit: int, *, requests: int, every_sec: float) -> int:
    """How many of these had to wait for Redis."""
    waited = 0
    for _ in range(requests):
        if limiter.has_room("key:a"):
            limiter.spend("key:a", limit)
        else:
            waited += 1
            await limiter.take("key:a", limit)
        while limiter._renewals:
            await asyncio.gather(*limiter._renewals.values())
            await asyncio.sleep(0)
        clock.now += every_sec
    return waited


def test_who_asks_a_few_times_a_second_waits_for_redis_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.limits.RENEW_LATER_SEC", 0.0)
    limiter, fake, clock = make(1_200_000)
    assert asyncio.run(_at_a_pace(limiter, clock, 1_200_000, requests=40, every_sec=0.2)) == 1
    # What was drawn ahead and not spent is given back.
    assert fake.used <= 40 + 1_200_000 // 600


def test_a_small_limit_is_never_drawn_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.limits.RENEW_LATER_SEC", 0.0)
    limiter, fake, clock = make(600)
    asyncio.run(_at_a_pace(limiter, clock, 600, requests=40, every_sec=0.2))
    assert (fake.used, fake.questions) == (40, 40)


def test_of_many_requests_a_lease_is_not_renewed() -> None:
    limiter, _, clock = make(6000)

    async def flood() -> int:
        await limiter.take("key:a", 6000)
        for _ in range(9):
            limiter.spend("key:a", 6000)
        clock.now += 0.9
        limiter._leases["key:a"].left = 1
        limiter.spend("key:a", 6000)
        return len(limiter._renewals)

    assert asyncio.run(flood()) == 0
