"""Replays: signed content that was accepted a moment ago is not accepted again. Marks in Redis, shared by all web
processes, that expire when the signature's own time would refuse it anyway."""

from __future__ import annotations

from collections.abc import Sequence

import redis.asyncio
from redis.exceptions import RedisError

from nimbus_project.core.errors import Unavailable
from nimbus_project.core.redis import DELIVERED

# All of a delivery's marks or none: two copies that come at once must not each find one of them.
_TAKE = """
for _, key in ipairs(KEYS) do
  if redis.call('EXISTS', key) == 1 then return 0 end
end
for _, key in ipairs(KEYS) do redis.call('SET', key, '', 'EX', ARGV[1]) end
return 1
"""


class Replays:
    """Lives in the event loop of its web process."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._script = client.register_script(_TAKE)

    async def take(self, scope: str, marks: Sequence[str], seconds: int) -> bool:
        """Mark a delivery as taken; False when it was before. Raises Unavailable: without the marks nobody can tell a
        replay, so none is let in."""
        if not marks or seconds <= 0:
            return True
        try:
            return bool(await self._script(keys=[_key(scope, mark) for mark in marks], args=[seconds]))
        except (RedisError, OSError) as error:
            raise Unavailable("Replays can't be told apart while Redis is away. Try again.") from error

    async def give_back(self, scope: str, marks: Sequence[str]) -> None:
        """It came to nothing: the sender may try again."""
        if marks:
            try:
                await self._client.delete(*(_key(scope, mark) for mark in marks))
            except (RedisError, OSError):
                # The marks expire by themselves; until then the sender's next try is refused.
                return


def _key(scope: str, mark: str) -> str:
    return f"{DELIVERED}{scope}:{mark}"
