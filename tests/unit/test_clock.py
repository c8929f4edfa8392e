"""The hand for the clock runs what Celery would run, and nothing stale."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from celery import Celery
from kombu import Exchange, Queue

from nimbus_project.core import queue, redis
from nimbus_project.core.queue import CLOCK, Task
from tests.services import RedisServer, wait_until
from workers import clock
from workers.clock import ClockHand


class Ran:
    """Stands for the registered tasks."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getitem__(self, name: str) -> Any:
        if name == "nimbus.broken":
            raise ValueError("a task that fails")
        return lambda *args, **kwargs: self.calls.append((name, args, kwargs))


@pytest.fixture
def ran() -> Ran:
    return Ran()


def hand(ran: Ran) -> ClockHand:
    return ClockHand(ran)  # type: ignore[arg-type]


def sent_by_celery(**options: Any) -> bytes:
    """As beat does."""
    app = queue.configure(Celery("reference", set_as_current=False))
    probe = Queue("probe", Exchange("nimbus", type="direct"), routing_key="probe")
    app.send_task(Task.TICK, queue=probe, ignore_result=True, **options)
    message = redis.connection().rpop("probe")
    assert isinstance(message, bytes)
    return message


@pytest.mark.usefixtures("redis_server")
def test_what_beat_sends_is_run_until_it_expires(ran: Ran) -> None:
    message = sent_by_celery(expires=5)
    now = datetime.now(UTC)
    hand(ran).run(message, now)
    assert ran.calls == [("nimbus.tick", (), {})]
    hand(ran).run(message, now + timedelta(seconds=6))
    assert len(ran.calls) == 1


@pytest.mark.usefixtures("redis_server")
def test_arguments_and_no_expiry(ran: Ran) -> None:
    hand(ran).run(queue.envelope(Task.TICK, 1, "two"), datetime.now(UTC))
    hand(ran).run(sent_by_celery(kwargs={"a": 1}), datetime.now(UTC))
    assert ran.calls == [("nimbus.tick", (1, "two"), {}), ("nimbus.tick", (), {"a": 1})]


@pytest.mark.parametrize(
    "message",
    [b"", b"no JSON", b"[]", b"{}", b'{"headers":{"task":"nimbus.tick"},"body":"?"}', b'{"headers":{"expires":"x"}}'],
)
def test_nonsense_ends_nothing(ran: Ran, message: bytes, caplog: pytest.LogCaptureFixture) -> None:
    hand(ran).run(message, datetime.now(UTC))
    assert ran.calls == []
    assert "a task of the clock failed" in caplog.text


def test_a_failing_task_does_not_stop_the_hand(ran: Ran, redis_server: RedisServer) -> None:
    client = redis.connection()
    client.delete(CLOCK)
    envelope = orjson.loads(queue.envelope(Task.TICK))
    envelope["headers"]["task"] = "nimbus.broken"
    one = hand(ran)
    one.start()
    try:
        client.lpush(CLOCK, orjson.dumps(envelope), queue.envelope(Task.TICK))
        wait_until(lambda: ran.calls, 20, "the message after the failing one")
    finally:
        one.stop()
        one.stop()
    assert client.llen(CLOCK) == 0


@pytest.mark.usefixtures("redis_server")
def test_its_end_does_not_wait_for_a_message(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "WAIT_SEC", 60)
    waiting = hand(ran)
    waiting.start()
    wait_until(lambda: redis.connection().info("clients")["blocked_clients"], what="it to wait")
    ending = threading.Thread(target=waiting.stop)
    ending.start()
    # Of a connection whose time is up it hears after ten seconds.
    ending.join(5)
    assert not ending.is_alive()
    assert not redis.connection().keys(redis.STIRRED + "*")
    waiting.stop()
