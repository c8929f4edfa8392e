"""Replays: signed content that was accepted a moment ago is not accepted again. Marks in Redis, shared by all web
processes, that expire when the signature's own time would refuse it anyway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import redis.asyncio
from redis.exceptions import RedisError

from nimbus_project.core.errors import NimbusError, Unavailable
from nimbus_project.core.redis import DELIVERED

TOGETHER = 64
"""Deliveries in one question."""

# Of each delivery all marks or none: two copies that come at once must not each find one of them. ARGV has for each how
# many of KEYS are its own, and for how many seconds.
_TAKE = """
local taken, last = {}, 0
for at = 1, #ARGV, 2 do
  local first, is_new = last + 1, 1
  last = last + tonumber(ARGV[at])
  for number = first, last do
    if redis.call('EXISTS', KEYS[number]) == 1 then is_new = 0 end
  end
  if is_new == 1 then
    for number = first, last do redis.call('SET', KEYS[number], '', 'EX', ARGV[at + 1]) end
  end
  taken[#taken + 1] = is_new
end
return taken
"""
Told = Callable[[bool | NimbusError], None]
_Asked = tuple[list[str], int, Told]


class Replays:
    """Lives in the event loop of its web process. One question is under way at a time; whoever comes meanwhile goes
    with the next one, together."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._script = client.register_script(_TAKE)
        self._waiting: list[_Asked] = []
        self._asking: asyncio.Task[None] | None = None

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
                _tell(asked, await self._taken(asked))
        finally:
            self._asking = None

    async def _taken(self, asked: Sequence[_Asked]) -> list[bool] | Exception:
        keys = [key for marks, _, _ in asked for key in marks]
        args = [number for marks, seconds, _ in asked for number in (len(marks), seconds)]
        try:
            return [bool(one) for one in await self._script(keys=keys, args=args)]
        except (RedisError, OSError) as error:
            return error

    async def give_back(self, scope: str, marks: Sequence[str]) -> None:
        """It came to nothing: the sender may try again."""
        if marks:
            try:
                await self._client.delete(*(_key(scope, mark) for mark in marks))
            except (RedisError, OSError):
                # The marks expire by themselves; until then the sender's next try is refused.
                return


def _tell(asked: Sequence[_Asked], taken: list[bool] | Exception) -> None:
    for number, (_, _, told) in enumerate(asked):
        if isinstance(taken, Exception):
            away = Unavailable("Replays can't be told apart while Redis is away. Try again.")
            away.__cause__ = taken
            told(away)
        else:
            told(taken[number])


def _key(scope: str, mark: str) -> str:
    return f"{DELIVERED}{scope}:{mark}"
