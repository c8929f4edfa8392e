"""Slots: `max_concurrency` of a function over all processes, as leases in Redis that expire.

A sorted set per function, slot by expiry. Taking is one atomic script: expired leases out, count, add. Callers who wait
take one for as long as their run can last; workers take short ones for queued runs and renew them.
"""

from __future__ import annotations

from collections.abc import Iterable

from nimbus_project.core import redis
from nimbus_project.core.redis import SLOTS

_TAKE = """
local now = redis.call('TIME')
local at = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', at)
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == false and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('ZADD', KEYS[1], at + tonumber(ARGV[3]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[3]) + 60000)
return 1
"""
# Also those that are not there any more: a Redis that was started empty learns what is held.
_RENEW = """
local now = redis.call('TIME')
local at = now[1] * 1000 + math.floor(now[2] / 1000)
for i, key in ipairs(KEYS) do
  redis.call('ZADD', key, at + tonumber(ARGV[1]), ARGV[i + 1])
  redis.call('PEXPIRE', key, tonumber(ARGV[1]) + 60000)
end
return 0
"""


def take_script() -> str:
    """KEYS: `key(function_id)`; ARGV: run id, limit, lease in ms. Answers 1 when the run holds a slot."""
    return _TAKE


def key(function_id: str) -> str:
    return SLOTS + function_id


def lease_ms(timeout_sec: int, wait_sec: float) -> int:
    """Longer than the run can last, so that a slot is not given away under it."""
    return int((timeout_sec + wait_sec + 30) * 1000)


def renew(held: Iterable[tuple[str, str]], lease: int) -> None:
    """Push the leases of these slots, pairs of function and slot, to `lease` ms from now. Raises RedisError."""
    pairs = list(held)
    script = redis.connection().register_script(_RENEW)
    script(keys=[key(function_id) for function_id, _ in pairs], args=[lease, *(slot for _, slot in pairs)])
