"""A worker's ear for orders: it ends when it is told to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nimbus_project.core import redis
from tests.services import wait_until
from workers import control
from workers.control import ControlListener


@pytest.mark.usefixtures("redis_server")
def test_its_end_does_not_wait_for_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "WAIT_SEC", 60)
    client = redis.connection()
    worker: Any = SimpleNamespace(client=client, specs=SimpleNamespace(forget_all=lambda: None))
    listener = ControlListener(worker)
    listener.start()

    def listens() -> bool:
        return dict(client.pubsub_numsub(redis.CONTROL, redis.CHANGES, redis.QUOTAS)) == {
            name.encode(): 1 for name in (redis.CONTROL, redis.CHANGES, redis.QUOTAS)
        }

    wait_until(listens, what="it to listen")
    listener.stop()
    assert not listener._thread.is_alive()
