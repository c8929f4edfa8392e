"""Answers on their way to the callers who wait: a list in Redis per web process, one reader for all its callers."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Iterable
from typing import cast

import redis.asyncio
from redis import Redis
from redis.exceptions import RedisError

from invocations.record import RunRecord
from nimbus_project.core.away import REDIS
from nimbus_project.core.outage import Outage
from nimbus_project.core.redis import REPLIES

log = logging.getLogger("nimbus.results")

KEPT_SEC = 60
"""An answer for a web process that is gone disappears after this."""
_TAKE_AT_ONCE = 64


def append(pipeline: Redis, reply_to: str, record: bytes) -> None:
    """Add an answer to a pipeline, after the ledger's entry."""
    pipeline.lpush(REPLIES + reply_to, record)
    pipeline.expire(REPLIES + reply_to, KEPT_SEC)


class Mailbox:
    """The waiting callers of one web process. Lives in its event loop."""

    def __init__(self, web_id: str) -> None:
        self.web_id = web_id
        self._waiting: dict[str, asyncio.Future[RunRecord]] = {}
        self._unread = Outage(log, "answers can't be read: Redis is away")

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(self, invocation_id: str) -> asyncio.Future[RunRecord]:
        """A future of this call's record. `forget` it in any case."""
        future: asyncio.Future[RunRecord] = asyncio.get_running_loop().create_future()
        self._waiting[invocation_id] = future
        return future

    def forget(self, invocation_id: str) -> None:
        self._waiting.pop(invocation_id, None)

    def waiting_ids(self) -> Iterable[str]:
        return tuple(self._waiting)

    def fail(self, invocation_id: str, error: Exception) -> None:
        """End one caller's waiting."""
        future = self._waiting.get(invocation_id)
        if future is not None and not future.done():
            future.set_exception(error)

    async def deliver(self, client: redis.asyncio.Redis) -> None:
        """Read answers for ever. A Redis that is away is asked again; its callers wait or run into their deadline."""
        key = REPLIES + self.web_id
        while True:
            try:
                answer = await cast("Awaitable[tuple[bytes, bytes] | None]", client.brpop([key], timeout=5))
                self._unread.ended()
                REDIS.ended()
                if answer is None:
                    continue
                self._hand_out(answer[1])
                if len(self._waiting) > 1:
                    for record in await cast("Awaitable[list[bytes] | None]", client.rpop(key, _TAKE_AT_ONCE)) or []:
                        self._hand_out(record)
            except (RedisError, OSError) as error:
                self._unread.began(error)
                await asyncio.sleep(0.2)

    def _hand_out(self, data: bytes) -> None:
        try:
            record = RunRecord.from_bytes(data)
        except (struct.error, ValueError, TypeError, KeyError) as error:
            # Of another release, or none at all: its caller runs into the deadline, the others get theirs.
            log.error("an answer can't be read", extra={"reason": type(error).__name__})
            return
        future = self._waiting.get(record.id)
        if future is not None and not future.done():
            future.set_result(record)
