"""The fleet: which workers live and what they run, as they say themselves every second in Redis."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, fields
from typing import Any, cast

import orjson
import redis.asyncio
from redis import Redis

from nimbus_project.core.redis import WORKER, WORKERS

BEAT_SEC = 1.0
DEAD_AFTER_SEC = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """One heartbeat."""

    id: str
    node: str
    pid: int
    driver: str
    started_at: float
    threads: int
    running: list[dict[str, Any]] = field(default_factory=list)
    """``{id, request_id, function_id, function_name, version, trigger_type, started_ms}`` of synchronous runs."""
    pool: dict[str, Any] = field(default_factory=dict)
    direct: dict[str, str] = field(default_factory=dict)
    """Where the direct lane is answered: ``{"unix": path, "tcp": "host:port"}``; empty when it is not."""
    warm: list[str] = field(default_factory=list)
    """``<function id>:<version>`` of the sandboxes that are loaded."""


_TOLD = tuple(f.name for f in fields(WorkerState))


def announce(client: Redis, state: WorkerState) -> None:
    pipeline = client.pipeline(transaction=False)
    pipeline.set(WORKER + state.id, orjson.dumps(asdict(state)), px=int(DEAD_AFTER_SEC * 1000))
    pipeline.zadd(WORKERS, {state.id: time.time()})
    pipeline.execute()


def withdraw(client: Redis, worker_id: str) -> None:
    pipeline = client.pipeline(transaction=False)
    pipeline.delete(WORKER + worker_id)
    pipeline.zrem(WORKERS, worker_id)
    pipeline.execute()


def living(client: Redis) -> list[WorkerState]:
    """Workers whose heartbeat has not expired."""
    ids = cast("list[bytes]", client.zrangebyscore(WORKERS, time.time() - DEAD_AFTER_SEC, "+inf"))
    return _states(cast("list[bytes | None]", client.mget([WORKER + i.decode() for i in ids])) if ids else [])


async def living_async(client: redis.asyncio.Redis) -> list[WorkerState]:
    ids = await client.zrangebyscore(WORKERS, time.time() - DEAD_AFTER_SEC, "+inf")
    return _states(await client.mget([WORKER + i.decode() for i in ids]) if ids else [])


def _states(values: list[bytes | None]) -> list[WorkerState]:
    # A worker of a newer release may tell more.
    return [
        WorkerState(**{name: told[name] for name in _TOLD if name in told})
        for told in (orjson.loads(value) for value in values if value is not None)
    ]
