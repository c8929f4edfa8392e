"""Orders to all workers over Redis: cancel a run, evict a function; and news of functions that have changed."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import orjson
from redis.exceptions import RedisError

from accounts import quotas
from functions import directory
from nimbus_project.core import redis

if TYPE_CHECKING:
    from workers.worker import Worker

log = logging.getLogger("nimbus.control")

WAIT_SEC = 1.0
AWAY_SEC = 0.5


class ControlListener:
    """One thread per worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="nimbus-control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        # An order of nothing ends its wait.
        redis.publish(redis.CONTROL, b"{}")
        self._thread.join(5)

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                with self._worker.client.pubsub(ignore_subscribe_messages=True) as listener:
                    listener.subscribe(redis.CONTROL, redis.CHANGES, redis.QUOTAS)
                    self._forget_all()
                    while not self._stop.is_set():
                        if message := listener.get_message(timeout=WAIT_SEC):
                            self._obey(message["channel"].decode(), message["data"])
            except (RedisError, OSError):
                self._forget_all()
                self._stop.wait(AWAY_SEC)
            except Exception:
                # Without this thread the worker would hear of nothing any more.
                log.exception("an order could not be obeyed")
                self._stop.wait(AWAY_SEC)

    def _forget_all(self) -> None:
        quotas.forget_all()
        directory.forget_all()
        self._worker.specs.forget_all()

    def _obey(self, channel: str, data: bytes) -> None:
        if channel == redis.QUOTAS:
            quotas.forget_all()
            return
        if channel == redis.CHANGES:
            news = data.decode()
            directory.hear(news)
            if news == directory.EVERYTHING:
                self._worker.specs.forget_all()
            else:
                self._worker.specs.forget(news)
                self._worker.foresight.expect(news)
            return
        order = orjson.loads(data)
        if "cancel" in order:
            self._worker.pool.cancel(order["cancel"])
        if "settle" in order:
            self._worker.scribe.settle(order["settle"])
        if "evict" in order:
            self._worker.evict(order["evict"])
