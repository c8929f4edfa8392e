"""A message as Nimbus makes it is the one that Celery would send."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from celery import Celery
from kombu import Exchange, Queue

from nimbus_project.core import queue, redis
from nimbus_project.core.queue import Task
from tests.services import RedisServer

ARGS = ({"id": "one", "created_ms": 1.5}, '{"name": "Nimbus"}')


@pytest.fixture
def sent_by_celery(redis_server: RedisServer) -> dict[str, Any]:
    """Sent to a queue of its own, where no worker of other tests takes it."""
    app = queue.configure(Celery("reference", set_as_current=False))
    probe = Queue("probe", Exchange("nimbus", type="direct"), routing_key="probe")
    app.send_task(Task.RUN_CALL, args=ARGS, queue=probe, ignore_result=True, argsrepr="", kwargsrepr="")
    message = redis.connection().rpop("probe")
    assert isinstance(message, bytes)
    found: dict[str, Any] = orjson.loads(message)
    found["properties"]["delivery_info"]["routing_key"] = "sync"
    return found


def _body(message: dict[str, Any]) -> Any:
    return orjson.loads(base64.b64decode(message["body"]))


def test_the_envelope_has_the_same_parts(sent_by_celery: dict[str, Any]) -> None:
    ours = orjson.loads(queue.envelope(Task.RUN_CALL, *ARGS))
    assert set(ours) == set(sent_by_celery)
    assert set(ours["headers"]) == set(sent_by_celery["headers"])
    # Celery hands unknown options on to kombu, which keeps them as properties: nobody reads these two there.
    assert set(ours["properties"]) == set(sent_by_celery["properties"]) - {"argsrepr", "kwargsrepr"}
    assert _body(ours) == _body(sent_by_celery)


@pytest.mark.parametrize("part", ["headers", "properties"])
def test_the_envelope_says_the_same(sent_by_celery: dict[str, Any], part: str) -> None:
    # Ids are each message's own; the origin is a name for people.
    own = {"id", "root_id", "origin", "correlation_id", "reply_to", "delivery_tag", "argsrepr", "kwargsrepr"}
    ours = orjson.loads(queue.envelope(Task.RUN_CALL, *ARGS))[part]
    theirs = sent_by_celery[part]
    assert {k: v for k, v in ours.items() if k not in own} == {k: v for k, v in theirs.items() if k not in own}
