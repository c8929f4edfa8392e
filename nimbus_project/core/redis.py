"""This process's connections to Redis, and the names of all keys that Nimbus uses there."""

from __future__ import annotations

from functools import lru_cache

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from nimbus_project.config import config

PREFIX = "nimbus:"
REPLIES = PREFIX + "replies:"
"""+ web process id: list of answers for the callers waiting there."""
SETTLED = PREFIX + "settled:"
"""+ a token: list with one entry of each worker whose finished runs are all in the database."""
WORKERS = PREFIX + "workers"
"""Sorted set: worker id by the time of its last heartbeat."""
WORKER = PREFIX + "worker:"
"""+ worker id: JSON of what it is and runs; expires when the worker is dead."""
WOKEN = PREFIX + "woken:"
"""+ task and subject: a message for it is on its way."""
COMPILES = PREFIX + "compiles"
"""List of sources that somebody waits for to be compiled."""
COMPILED = PREFIX + "compiled:"
"""+ request id: list with the answer."""
STIRRED = PREFIX + "stirred:"
"""+ a token: list with an entry when the thread that waits here is to end."""
SLOTS = PREFIX + "slots:"
"""+ function id: sorted set of runs by expiry, for max_concurrency."""
LINES = PREFIX + "lines:"
"""+ invocation id: list of log lines of a run that goes on."""
CHANGES = PREFIX + "changes"
"""Channel: id of a function whose cached state is stale."""
KEYS = PREFIX + "keys"
"""Channel: prefix of an API key whose cached state is stale; ``user:<id>`` for all of one user."""
LIMIT = PREFIX + "limit:"
"""+ key or address: hash of requests by second, for the rate limit."""
DELIVERED = PREFIX + "delivered:"
"""+ function id and digest: this delivery of its webhook was taken; expires when its time alone refuses it."""
QUOTAS = PREFIX + "quotas"
"""Channel: limits have changed; whose is not said."""
RUNS = PREFIX + "runs:"
"""+ owner and UTC day: invocations accepted on that day, counted while there is a limit."""
STATS = PREFIX + "stats:"
"""+ whose and which hour: invocations by status and runtime."""
CONTROL = PREFIX + "control"
"""Channel: orders to all workers (cancel, evict)."""
LOGS = PREFIX + "logs:"
"""Channel + function id: log lines as they come."""


@lru_cache(maxsize=1)
def connection() -> redis.Redis:
    """Blocking, thread-safe, pooled."""
    return redis.Redis.from_url(
        config().redis,
        socket_timeout=10,
        socket_connect_timeout=2,
        health_check_interval=0,
        retry=Retry(ConstantBackoff(0.05), 2),
        retry_on_error=[redis.ConnectionError],
    )


def async_connection(*, patience_sec: float = 10.0) -> redis.asyncio.Redis:
    """A new client of the running event loop; its maker closes it. An answer that takes longer than `patience_sec`
    is an error."""
    client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
        config().redis,
        socket_timeout=patience_sec,
        socket_connect_timeout=min(2.0, patience_sec),
        retry=AsyncRetry(ConstantBackoff(0.05), 2),
        retry_on_error=[redis.ConnectionError],
    )
    return client


def publish(channel: str, message: str | bytes) -> bool:
    """Best effort: False when Redis is away. For news that has a bounded age anyway."""
    try:
        connection().publish(channel, message)
    except redis.RedisError:
        return False
    return True
