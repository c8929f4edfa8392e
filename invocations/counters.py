"""What limits are counted by in Redis, asked from an event loop: all questions that come up while one round trip is
under way go with the next one, together. A call that is limited waits for no thread, and many cost little more than
one.
"""

from __future__ import annotations

import asyncio
from typing import cast

import redis.asyncio

MOST_AT_ONCE = 256
"""Questions in one round trip: Redis answers nobody else meanwhile."""

_Question = tuple[str, str, tuple[str | int, ...], "asyncio.Future[int]"]


class Counters:
    """One per event loop. The client stays its maker's to close."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._questions: list[_Question] = []
        self._courier: asyncio.Task[None] | None = None

    async def ask(self, script: str, key: str, *args: str | int) -> int:
        """The answer of a script, which is atomic as ever. Raises RedisError, OSError."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._questions.append((script, key, args, future))
        if self._courier is None or self._courier.done():
            self._courier = asyncio.create_task(self._carry())
        return await future

    async def _carry(self) -> None:
        while self._questions:
            batch, self._questions = self._questions[:MOST_AT_ONCE], self._questions[MOST_AT_ONCE:]
            try:
                answers = await self._round_trip(batch)
            except Exception as error:
                # Theirs to judge: each is somebody's who waits.
                answers = [error] * len(batch)
            for (_, _, _, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(cast(int, answer))

    async def _round_trip(self, batch: list[_Question]) -> list[object]:
        pipeline = self._client.pipeline(transaction=False)
        for script, key, args, _ in batch:
            # By its text: Redis knows it by heart, and one that was started empty needs no second round.
            pipeline.eval(script, 1, key, *map(str, args))
        return cast("list[object]", await pipeline.execute(raise_on_error=False))

    def close(self) -> None:
        if self._courier is not None:
            self._courier.cancel()
