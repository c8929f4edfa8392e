"""Replays: signed content that was accepted a moment ago is not accepted again. Marks in Redis, shared by all web
processes, that expire when the signature's own time would refuse it anyway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from nimbus_project.core.errors import NimbusError, Unavailable
from nimbus_project.core.redis import DELIVERED

TOGETHER = 64
"""Deliveries in one question."""

# Of a delivery that has several, all marks or none: two copies that come at once must not each find one of them.
_TAKE = """
for _, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 then return 0 end
end
for _, key in ipairs(KEYS) do redis.call('SET', key, '', 'EX', ARGV[1]) end
return 1
"""
Told = Callable[[bool | NimbusError], None]
_Asked = tuple[list[str], int, Told]
_Answer = bool | Exception


class Replays:
    """Lives in the event loop of its web process. One question is under way at a time; whoever comes meanwhile goes
    with the next one, together."""

    def __init__(self, client: redis.asyncio.Redis, *, patience_sec: float = 1.0) -> None:
        """An answer that takes longer than `patience_sec` is an error."""
        self._client = client
        self._patience_sec = patience_sec
        # One of its own: what the client does around each question takes longer than the question.
        self._connection = client.connection_pool.make_connection()
        # For each question as a whole, below.
        self._connection.socket_timeout = None
        self._waiting: list[_Asked] = []
        self._asking: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Whoever still waits has gone."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await self._connection.disconnect()

    async def take(self, scope: str, marks: Sequence[str], seconds: int) -> bool:
        """Mark a delivery as taken; False when it was before. Raises Unavailable: without the marks nobody can tell a
        replay, so none is let in."""
        if not marks or seconds <= 0:
            return True
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def told(taken: bool | NimbusError) -> None:
            if answer.done():
                return  # who asked has gone
            if isinstance(taken, NimbusError):
                answer.set_exception(taken)
            else:
                answer.set_result(taken)

        self.ask(scope, marks, seconds, told)
        return await answer

    def ask(self, scope: str, marks: Sequence[str], seconds: int, told: Told) -> None:
        """As `take`, of marks that there are; `told` gets the answer, or Unavailable. It must not raise."""
        self._waiting.append(([_key(scope, mark) for mark in marks], seconds, told))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
                for (_, _, told), taken in zip(asked, await self._taken(asked), strict=True):
                    told(_away(taken) if isinstance(taken, Exception) else taken)
        finally:
            self._asking = None

    async def _taken(self, asked: Sequence[_Asked]) -> Sequence[_Answer]:
        # A connection that was left alone may have ended meanwhile, as by a Redis that was started again.
        for is_last in (not self._connection.is_connected, True):
            try:
                async with asyncio.timeout(self._patience_sec):
                    return await self._round_trip(asked)
            except (RedisError, OSError) as error:
                await self._connection.disconnect(nowait=True)
                if is_last or isinstance(error, TimeoutError):
                    return [error] * len(asked)
        raise AssertionError("the last has an answer")

    async def _round_trip(self, asked: Sequence[_Asked]) -> list[_Answer]:
        """Raises RedisError, OSError."""
        connection = self._connection
        commands = connection.pack_commands(_command(keys, seconds) for keys, seconds, _ in asked)
        await connection.send_packed_command(commands, check_health=False)
        answers: list[_Answer] = []
        for _ in asked:
            try:
                answers.append(bool(await connection.read_response()))
            except ResponseError as error:
                answers.append(error)
        return answers

    async def give_back(self, scope: str, marks: Sequence[str]) -> None:
        """It came to nothing: the sender may try again."""
        if marks:
            try:
                await self._client.delete(*(_key(scope, mark) for mark in marks))
            except (RedisError, OSError):
                # The marks expire by themselves; until then the sender's next try is refused.
                return


def _command(keys: list[str], seconds: int) -> tuple[str | int, ...]:
    """Its answer is nothing or 0 for a delivery that was here before."""
    if len(keys) == 1:
        return ("SET", keys[0], "", "NX", "EX", seconds)
    return ("EVAL", _TAKE, len(keys), *keys, seconds)


def _away(cause: Exception) -> Unavailable:
    away = Unavailable("Replays can't be told apart while Redis is away. Try again.")
    away.__cause__ = cause
    return away


def _key(scope: str, mark: str) -> str:
    return f"{DELIVERED}{scope}:{mark}"
