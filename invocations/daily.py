"""Invocations of one owner on one UTC day, against their quota: a counter in Redis, shared by all processes.

The counter is asked only while there is a limit. It may be missing (the day is new, the limit is, or Redis was started
empty): the first who notices counts the day's rows in the database and sets it, unless somebody else was quicker;
nobody is let in before it is there, so that it can't come out too low. What is refused later, before it ran, is given
back.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import cast

from redis.exceptions import RedisError

from accounts import quotas
from accounts.quotas import DailyQuotaExceeded
from invocations import ledger
from invocations.counters import Counters
from invocations.models import Invocation
from nimbus_project.core import redis
from nimbus_project.core.errors import Unavailable

log = logging.getLogger("nimbus.quotas")

_KEPT_SEC = 2 * 86_400

# One atomic step: -1 the counter is missing, 0 the day is used up, 1 counted.
_TAKE = """
local used = redis.call('GET', KEYS[1])
if not used then return -1 end
if tonumber(used) >= tonumber(ARGV[1]) then return 0 end
redis.call('INCR', KEYS[1])
return 1
"""
_GIVE_BACK = """
local used = redis.call('GET', KEYS[1])
if used and tonumber(used) > 0 then redis.call('DECR', KEYS[1]) end
return 0
"""


def take(owner_id: int | None, limit: int, now: datetime) -> None:
    """Count one more invocation. Raises DailyQuotaExceeded, and Unavailable when Redis can't be asked: without it
    nobody knows whether one more is one too many."""
    client = redis.connection()
    script = client.register_script(_TAKE)
    key = _key(owner_id, now)
    try:
        answer = cast(int, script(keys=[key], args=[limit]))
        if answer < 0:
            client.set(key, _count(owner_id, now), nx=True, ex=_KEPT_SEC)
            answer = cast(int, script(keys=[key], args=[limit]))
    except RedisError as error:
        raise Unavailable("The quota can't be checked: Redis is away. Try again.") from error
    if answer < 1:
        raise _used_up(limit, now)


async def take_in_loop(counters: Counters, owner_id: int | None, limit: int, now: datetime) -> bool:
    """As `take`, without a thread. False when the counter is missing: `take` then finds out what to set it to."""
    try:
        answer = await counters.ask(_TAKE, _key(owner_id, now), limit)
    except (RedisError, OSError) as error:
        raise Unavailable("The quota can't be checked: Redis is away. Try again.") from error
    if answer == 0:
        raise _used_up(limit, now)
    return answer > 0


def _used_up(limit: int, now: datetime) -> DailyQuotaExceeded:
    return DailyQuotaExceeded(
        f"The quota of {limit} invocations a day is used up. It begins anew at midnight UTC.",
        retry_after_sec=_until_midnight(now),
    )


def give_back(owner_id: int | None, now: datetime) -> None:
    """One that was counted did not come about. Best effort: lost, it leaves the count one too high until midnight."""
    try:
        redis.connection().register_script(_GIVE_BACK)(keys=[_key(owner_id, now)])
    except RedisError:
        log.warning("a counted invocation can't be given back: Redis is away")


def used(owner_id: int | None, now: datetime) -> int:
    """Today so far: as counted against the limit while there is one, else from the database."""
    if quotas.limits_of(owner_id).max_invocations_per_day:
        try:
            value = cast("bytes | None", redis.connection().get(_key(owner_id, now)))
        except RedisError:
            value = None
        if value is not None:
            return int(value)
    return _count(owner_id, now)


def limit_of(owner_id: int | None) -> int | None:
    """From memory; None when it has to be asked for with `quotas.limits_of`."""
    limits = quotas.known(owner_id)
    return None if limits is None else limits.max_invocations_per_day


def _count(owner_id: int | None, now: datetime) -> int:
    try:
        # Runs that have ended may not be in the database yet.
        ledger.settle(redis.connection())
    except RedisError:
        log.warning("runs that ended just now may be missing from a count: Redis is away")
    return Invocation.objects.filter(owner_id=owner_id, created_at__gte=_midnight(now)).count()


def _key(owner_id: int | None, now: datetime) -> str:
    return f"{redis.RUNS}{'nobody' if owner_id is None else owner_id}:{now.astimezone(UTC):%Y%m%d}"


def _midnight(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _until_midnight(now: datetime) -> int:
    return max(1, int((_midnight(now) + timedelta(days=1) - now).total_seconds()) + 1)
