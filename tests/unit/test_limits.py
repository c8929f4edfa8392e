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
