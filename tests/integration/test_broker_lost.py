"""Redis goes while a worker's connection has messages that are not acknowledged: it is given up like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from celery import Celery
from kombu import Connection, Consumer, Exchange, Message, Queue, transport
from kombu.common import ignore_errors

from nimbus_project.core.queue import configure
from tests.services import RedisServer
from workers import broker


@pytest.fixture
def redis(scratch: Path) -> Iterator[RedisServer]:
    folder = scratch / "lost"
    folder.mkdir()
    server = RedisServer(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def connection(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setattr(transport, "_transport_cache", {})
    monkeypatch.setattr(transport, "TRANSPORT_ALIASES", aliases := dict(transport.TRANSPORT_ALIASES))
    monkeypatch.setattr(broker, "TRANSPORT_ALIASES", aliases)
    broker.take_the_schemes()
    return configure(Celery("t")).connection_for_read(f"redis+socket{redis.url.removeprefix('unix')}")


def _drain(connection: Connection) -> None:
    with suppress(TimeoutError):
        connection.drain_events(timeout=0.2)


def test_a_connection_with_messages_is_given_up_without_an_error(redis: RedisServer, connection: Connection) -> None:
    """What Celery's consumer does when its connection is lost (`on_connection_error_after_connected`), with a channel
    for tasks and one for orders, as it has."""
    assert isinstance(connection.transport, broker.Transport)
    tasks, orders = connection.default_channel, connection.channel()
    assert isinstance(tasks, broker.Channel)
    queue = Queue("tasks", Exchange("tasks"), routing_key="tasks")
    got: list[Message] = []
    Consumer(tasks, [queue], callbacks=[lambda _, message: got.append(message)]).consume()
    connection.Producer(tasks).publish({}, exchange="tasks", routing_key="tasks")
    while not got:
        _drain(connection)
    told = Queue("orders", Exchange("orders", type="fanout"), auto_delete=True)
    Consumer(orders, [told], callbacks=[lambda *_: None], no_ack=True).consume()
    _drain(connection)
    redis.kill9()
    connection.collect(socket_timeout=1)
    ignore_errors(connection, connection.close)
    assert not connection.connected
