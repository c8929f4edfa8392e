"""Replays: signed content that was accepted a moment ago is not accepted again. Marks in Redis, shared by all web
processes, that expire when the signature's own time would refuse it anyway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import hiredis
import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from nimbus_project.core.errors import NimbusError, Unavailable
from nimbus_project.core.ids import new_id_text
from nimbus_project.core.redis import DELIVERED

TOGETHER = 64
"""Deliveries in one question."""

# Of a delivery that has several, all marks or none: two copies that come at once must not each find one of them. What
# it has marked itself does not count: that is a question asked again, whose first answer was lost.
_TAKE = """
for _, key in ipairs(KEYS) do
  local owner = redis.call('GET', key)
  if owner and owner ~= ARGV[2] then return 0 end
end
for _, key in ipairs(KEYS) do redis.call('SET', key, ARGV[2], 'EX', ARGV[1]) end
return 1
"""
Told = Callable[[bool | NimbusError], None]
_Question = tuple[str | int, ...]
_Answer = bool | Exception
# In C, where the client packs in Python. Its stub knows tuples of one only.
_packed: Callable[[_Question], bytes] = cast(Any, hiredis.pack_command)


class _Asked(NamedTuple):
    keys: list[str]
    seconds: int
    owner: str
    """Which delivery it is; no other has the same."""
    told: Told


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
        self._name, self._number = new_id_text(), 0
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
        self._number += 1
        owner = f"{self._name}-{self._number}"
        self._waiting.append(_Asked([_key(scope, mark) for mark in marks], seconds, owner, told))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
                try:
                    answers = await self._taken(asked)
                except (RedisError, OSError) as error:
                    # Who came meanwhile would only wait for the same.
                    asked, self._waiting = asked + self._waiting, []
                    answers = [error] * len(asked)
                for one, answer in zip(asked, answers, strict=True):
                    one.told(_away(answer) if isinstance(answer, Exception) else answer)
        finally:
            self._asking = None

    async def _taken(self, asked: Sequence[_Asked]) -> Sequence[_Answer]:
        """Raises RedisError, OSError."""
        was_open = self._connection.is_connected
        try:
            return await self._round_trip([_first_question(one) for one in asked])
        except (RedisError, OSError) as error:
            if not was_open or isinstance(error, TimeoutError):
                raise
        # It may have ended while it was left alone, as by a Redis that was started again; or just now, and what was
        # asked has been done.
        return await self._round_trip([_question(one) for one in asked])

    async def _round_trip(self, questions: Sequence[_Question]) -> list[_Answer]:
        """Raises RedisError, OSError; the connection has ended then."""
        connection = self._connection
        answers: list[_Answer] = []
        try:
            async with asyncio.timeout(self._patience_sec):
                packed = b"".join(map(_packed, questions))
                await connection.send_packed_command(packed, check_health=False)
                for _ in questions:
                    try:
                        answers.append(bool(await connection.read_response()))
                    except ResponseError as error:
                        answers.append(error)
        except (RedisError, OSError):
            await connection.disconnect(nowait=True)
            raise
        return answers

    async def give_back(self, scope: str, marks: Sequence[str]) -> None:
        """It came to nothing: the sender may try again."""
        if marks:
            try:
                await self._client.delete(*(_key(scope, mark) for mark in marks))
            except (RedisError, OSError):
                # The marks expire by themselves; until then the sender's next try is refused.
                return


def _first_question(asked: _Asked) -> _Question:
    """As `_question`, where nobody has asked for this delivery yet: one mark needs no script."""
    if len(asked.keys) == 1:
        return ("SET", asked.keys[0], asked.owner, "NX", "EX", asked.seconds)
    return _question(asked)


def _question(asked: _Asked) -> _Question:
    """Its answer is nothing or 0 for a delivery that was here before."""
    return ("EVAL", _TAKE, len(asked.keys), *asked.keys, asked.seconds, asked.owner)


def _away(cause: Exception) -> Unavailable:
    away = Unavailable("Replays can't be told apart while Redis is away. Try again.")
    away.__cause__ = cause
    return away


def _key(scope: str, mark: str) -> str:
    return f"{DELIVERED}{scope}:{mark}"
