"""Rate limits: so many requests of one key or address in any 60 s, over all web processes.

Redis counts, in one atomic script: a hash per subject with the requests of each second. A process draws small batches
ahead (a lease: 1/600 of the limit, for a second) and spends them from memory; what it has not spent it gives back with
the next draw. What is drawn is counted at once, so the sum over all processes is never above the limit; seen from
outside, a request may come up to LEASE_SEC after the second it was counted in. A limit below 1200 is drawn one by one,
and exact. A refusal holds for LEASE_SEC without asking again: a flood costs Redis one question a second. Who asks a few
times a second has the lease renewed behind his back: else it would be over at every few of his requests.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

import redis.asyncio
from redis.exceptions import RedisError

from nimbus_project.core.redis import LIMIT

log = logging.getLogger("nimbus.limits")

WINDOW_SEC = 60
LEASE_SEC = 1.0
RENEW_AFTER_SEC = 0.4
RENEW_LATER_SEC = 0.02
"""After the request that has noticed: not on its time."""
FEW = 8
"""Requests that a lease has served, at most, to be renewed: of many one may wait for Redis, and others would meanwhile
find nothing to spend."""
_BATCHED = 1200
MAX_SUBJECTS = 20_000
_AWAY_SEC = 1.0
"""Redis that did not answer is not asked again for so long."""

# KEYS: the subject's hash; ARGV: limit, how many are asked for, how many of an earlier draw are given back, the second
# of that draw. Answers how many were granted, how many are left, in how many seconds the oldest of the counted ones
# leaves the window, and the second of this draw. A second belongs to the window until it is wholly past it:
# hence never more than the limit in any 60 s, at the price of up to a second's wait.
SCRIPT = """
local now = tonumber(redis.call('TIME')[1])
local used, oldest = 0, now
if tonumber(ARGV[3]) > 0 and tonumber(redis.call('HGET', KEYS[1], ARGV[4]) or 0) >= tonumber(ARGV[3]) then
  redis.call('HINCRBY', KEYS[1], ARGV[4], -tonumber(ARGV[3]))
end
local counts = redis.call('HGETALL', KEYS[1])
for i = 1, #counts, 2 do
  local second = tonumber(counts[i])
  if second < now - 60 then
    redis.call('HDEL', KEYS[1], counts[i])
  else
    used = used + tonumber(counts[i + 1])
    if second < oldest then oldest = second end
  end
end
local granted = math.max(0, math.min(tonumber(ARGV[2]), tonumber(ARGV[1]) - used))
if granted > 0 then
  redis.call('HINCRBY', KEYS[1], now, granted)
  redis.call('EXPIRE', KEYS[1], 62)
end
return {granted, math.max(0, tonumber(ARGV[1]) - used - granted), oldest + 61 - now, now}
"""


class Standing(NamedTuple):
    """Where a subject stands after a request."""

    allowed: bool
    limit: int
    remaining: int
    """Requests that would be let in now; of other processes' a moment old."""
    reset_sec: int
    """Until the oldest requests leave the window."""

    def headers(self) -> list[tuple[bytes, bytes]]:
        return [
            (b"x-ratelimit-limit", b"%d" % self.limit),
            (b"x-ratelimit-remaining", b"%d" % self.remaining),
            (b"x-ratelimit-reset", b"%d" % self.reset_sec),
        ]

    def lines(self) -> bytes:
        """As `headers`, the way they are sent."""
        return b"x-ratelimit-limit: %d\r\nx-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\n" % (
            self.limit,
            self.remaining,
            self.reset_sec,
        )


@dataclass(slots=True)
class _Lease:
    """Requests of one subject that Redis has counted already."""

    left: int = 0
    behind: int = 0
    """Left in Redis when this was drawn."""
    drawn_at: float = 0.0
    resets_at: float = 0.0
    second: int = 0
    """Redis' second in which the last of it was counted."""
    drawn: int = 0
    """What there was after the last draw."""


class Limiter:
    """The rate limits of one web process. Lives in its event loop."""

    def __init__(self, client: redis.asyncio.Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._script = client.register_script(SCRIPT)
        self._clock = clock
        self._leases: dict[str, _Lease] = {}
        self._away_until = 0.0
        self._renewals: dict[str, asyncio.Task[None]] = {}

    def close(self) -> None:
        """Renew nothing any more."""
        for renewal in self._renewals.values():
            renewal.cancel()

    async def take(self, subject: str, limit: int) -> Standing | None:
        """One request of ``key:<prefix>`` or ``address:<address>``. None without a limit, and while Redis is away: a
        broken counter must not stop the work it counts."""
        if limit <= 0:
            return None
        lease, now = self._leases.get(subject), self._clock()
        if lease is None or now - lease.drawn_at > LEASE_SEC or (lease.left <= 0 and lease.behind > 0):
            lease = await self._draw(subject, limit, lease)
            if lease is None:
                return None
        return self._spend(lease, limit, now)

    def has_room(self, subject: str) -> bool:
        """Whether one more can be counted without asking Redis."""
        lease = self._leases.get(subject)
        return lease is not None and lease.left > 0 and self._clock() - lease.drawn_at <= LEASE_SEC

    def spend(self, subject: str, limit: int) -> Standing:
        """`take` for a subject that has room."""
        lease, now = self._leases[subject], self._clock()
        if now - lease.drawn_at > RENEW_AFTER_SEC and limit >= _BATCHED and lease.drawn - lease.left < FEW:
            self._renew_soon(subject, limit)
        return self._spend(lease, limit, now)

    def _renew_soon(self, subject: str, limit: int) -> None:
        if subject not in self._renewals:
            renewal = self._renewals[subject] = asyncio.ensure_future(self._renew(subject, limit))
            renewal.add_done_callback(lambda _: self._renewals.pop(subject, None))

    async def _renew(self, subject: str, limit: int) -> None:
        await asyncio.sleep(RENEW_LATER_SEC)
        lease = self._leases.get(subject)
        # Others may have come in between, and drawn.
        if lease is not None and self._clock() - lease.drawn_at > RENEW_AFTER_SEC:
            await self._draw(subject, limit, lease)

    def _spend(self, lease: _Lease, limit: int, now: float) -> Standing:
        allowed = lease.left > 0
        if allowed:
            lease.left -= 1
        reset_sec = max(1, round(lease.resets_at - now))
        return Standing(allowed, limit, lease.left + lease.behind, reset_sec)

    async def _draw(self, subject: str, limit: int, old: _Lease | None) -> _Lease | None:
        if self._clock() < self._away_until:
            return None
        unspent, second = (old.left, old.second) if old is not None else (0, 0)
        if old is not None:
            # Before the wait: another request that comes meanwhile must neither spend it nor give it back again.
            old.left = 0
        try:
            answer = await self._script(keys=[LIMIT + subject], args=[limit, max(1, limit // 600), unspent, second])
        except (RedisError, OSError):
            # Said once per absence, not once per request.
            if not self._away_until:
                log.warning("rate limits are off: Redis does not answer")
            self._away_until = self._clock() + _AWAY_SEC
            return None
        self._away_until = 0.0
        return self._drawn(subject, cast("list[int]", answer))

    def _drawn(self, subject: str, answer: list[int]) -> _Lease:
        lease, now = self._leases.get(subject), self._clock()
        if lease is None:
            if len(self._leases) >= MAX_SUBJECTS:
                self._leases.clear()
            lease = self._leases[subject] = _Lease()
        granted, lease.behind, reset_sec, lease.second = answer
        # While this call waited for Redis, another may have drawn too: both are counted there, both may be spent.
        lease.left += granted
        lease.drawn = lease.left
        lease.drawn_at, lease.resets_at = now, now + reset_sec
        return lease


def tighter(one: Standing | None, other: Standing | None) -> Standing | None:
    """The one that will refuse first: what a client has to know."""
    if one is None or other is None:
        return other if one is None else one
    return other if other.remaining < one.remaining else one
