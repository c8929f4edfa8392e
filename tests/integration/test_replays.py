"""Marks of deliveries, asked for together: each copy is told apart however many come at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from redis.exceptions import ConnectionError

from nimbus_project.core import redis
from nimbus_project.core.errors import Unavailable
from nimbus_project.core.redis import DELIVERED
from tests.services import RedisServer
from triggers.replays import TOGETHER, Replays


def run(work: Callable[[Replays], Awaitable[object]]) -> None:
    async def main() -> None:
        client = redis.async_connection(patience_sec=5.0)
        try:
            replays = Replays(client, patience_sec=5.0)
            await work(replays)
            await replays.close()
        finally:
            await client.aclose()

    redis.connection().delete(*redis.connection().scan_iter(match=f"{DELIVERED}*"), "none")
    asyncio.run(main())


def test_of_many_copies_at_once_one_is_new(redis_server: RedisServer) -> None:
    """More than go in one question, two copies of each, in the midst of one another."""

    async def work(replays: Replays) -> None:
        names = [str(number) for number in range(2 * TOGETHER)]
        asked = [(name, replays.take("f", [f"a{name}", f"b{name}"], 60)) for name in names + names]
        told = await asyncio.gather(*(take for _, take in asked))
        new = Counter(name for (name, _), is_new in zip(asked, told, strict=True) if is_new)
        assert new == Counter(names)

    run(work)


def test_all_marks_or_none(redis_server: RedisServer) -> None:
    async def work(replays: Replays) -> None:
        told = await asyncio.gather(
            replays.take("f", ["x", "y"], 60),
            replays.take("f", ["y", "z"], 60),
            replays.take("f", ["z"], 60),
            replays.take("g", ["x"], 60),
        )
        assert told == [True, False, True, True], "of the second nothing was marked; scopes are apart"
        await replays.give_back("f", ["x", "y"])
        assert await replays.take("f", ["y"], 60)

    run(work)


def test_each_for_its_own_time(redis_server: RedisServer) -> None:
    async def work(replays: Replays) -> None:
        await asyncio.gather(replays.take("f", ["short"], 10), replays.take("f", ["long"], 1000))
        assert 0 < redis.connection().ttl(f"{DELIVERED}f:short") <= 10
        assert 900 < redis.connection().ttl(f"{DELIVERED}f:long") <= 1000
        assert await replays.take("f", [], 60) and await replays.take("f", ["short"], 0), "nothing to tell apart"

    run(work)


def test_one_who_has_gone_does_not_keep_the_others(redis_server: RedisServer) -> None:
    async def work(replays: Replays) -> None:
        takes = [asyncio.ensure_future(replays.take("f", [name], 60)) for name in "abc"]
        await asyncio.sleep(0)
        takes[1].cancel()
        assert await takes[0] and await takes[2]
        assert await replays.take("f", ["d"], 60)

    run(work)


def test_without_redis_all_are_refused_and_later_ones_let_in(redis_server: RedisServer) -> None:
    async def work(replays: Replays) -> None:
        real = replays._round_trip

        async def away(_: object) -> list[bool | Exception]:
            raise OSError("away")

        replays._round_trip = away  # type: ignore[method-assign]
        told = await asyncio.gather(*(replays.take("f", [name], 60) for name in "ab"), return_exceptions=True)
        assert [type(one) for one in told] == [Unavailable] * 2
        replays._round_trip = real  # type: ignore[method-assign]
        assert await replays.take("f", ["a"], 60)

    run(work)


def test_a_connection_that_has_ended_is_made_again(redis_server: RedisServer) -> None:
    async def work(replays: Replays) -> None:
        assert await replays.take("f", ["a"], 60)
        redis.connection().client_kill_filter(_type="normal", skipme=True)
        assert await replays.take("f", ["b"], 60) and not await replays.take("f", ["a"], 60)

    run(work)


def test_what_redis_says_to_one_is_not_told_to_others(redis_server: RedisServer) -> None:
    async def work(replays: Replays) -> None:
        asked = [replays.take("f", [name], seconds) for name, seconds in (("a", 60), ("b", 2**70), ("c", 60))]
        told = await asyncio.gather(*asked, return_exceptions=True)
        assert (told[0], type(told[1]), told[2]) == (True, Unavailable, True)
        assert not await replays.take("f", ["c"], 60)

    run(work)


def test_an_answer_that_was_lost_makes_no_replay(redis_server: RedisServer) -> None:
    """Redis has marked it, and the connection ends before it says so."""

    async def work(replays: Replays) -> None:
        assert await replays.take("f", ["a"], 60)
        connection = replays._connection
        real, lost = connection.read_response, 0

        async def read_response(*given: Any, **named: Any) -> Any:
            nonlocal lost
            answer = await real(*given, **named)
            if lost < 1:
                lost += 1
                raise ConnectionError("lost")
            return answer

        connection.read_response = read_response
        asked = (replays.take("f", ["b"], 60), replays.take("f", ["a"], 60), replays.take("f", ["c", "d"], 60))
        assert await asyncio.gather(*asked) == [True, False, True]
        assert not await replays.take("f", ["b"], 60) and not await replays.take("f", ["d"], 60)
        assert lost == 1

    run(work)


def test_who_comes_while_redis_does_not_answer_waits_no_longer_than_the_first(redis_server: RedisServer) -> None:
    async def work(replays: Replays) -> None:
        asked = 0

        async def away(_: object) -> list[bool | Exception]:
            nonlocal asked
            asked += 1
            raise TimeoutError

        replays._round_trip = away  # type: ignore[method-assign]
        takes = (replays.take("f", [str(number)], 60) for number in range(3 * TOGETHER))
        told = await asyncio.gather(*takes, return_exceptions=True)
        assert {type(one) for one in told} == {Unavailable} and asked == 1

    run(work)
