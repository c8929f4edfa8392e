"""Every message from the domain to the workers: the names, the queues, and `send`.

The domain calls `send(Task.X, …)`; `workers/tasks.py` registers a body under that name. Neither imports the other.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable
from enum import StrEnum
from functools import lru_cache, partial
from typing import Any, cast
from uuid import uuid4

import orjson
from celery import Celery
from django.conf import settings
from django.db import transaction
from kombu import Exchange, Queue
from redis.asyncio import Redis as AsyncRedis
from redis.commands.core import Script
from redis.exceptions import RedisError

from nimbus_project.core import redis
from nimbus_project.core.errors import Unavailable


class Task(StrEnum):
    """A name on the wire; permanent once released."""

    RUN_CALL = "nimbus.run_call"
    """A caller waits: the message is the whole call."""
    RUN_INVOCATION = "nimbus.run_invocation"
    """A row waits: the message is its function's id, and only makes it quicker: workers look for rows themselves."""
    REPORT = "nimbus.report"
    """A run of a function has ended that is to be reported: as RUN_INVOCATION."""
    ADVANCE = "nimbus.advance"
    """An execution can go on: the message is its id, and only makes it quicker, as RUN_INVOCATION's."""
    BUILD = "nimbus.build"
    """A BuildTask waits: the message is its id."""
    COMPILE = "nimbus.compile"
    """Somebody waits for a source to be compiled (`functions/compiles.py`)."""
    SWEEP = "nimbus.sweep"
    """Send lost messages again, give back expired leases."""
    ROLLOUTS = "nimbus.rollouts"
    """Decide on the next step of every running rollout."""
    TICK = "nimbus.tick"
    """A second has passed: fire the schedules that are due."""
    RETENTION = "nimbus.retention"
    """Delete what is older than it is kept, for a while."""
    LEFTOVERS = "nimbus.leftovers"
    """Drop files that nobody needs any more."""
    FAN_OUT = "nimbus.fan_out"
    """Events wait to be held against rules (`triggers/fan_out.py`)."""
    ALERTS = "nimbus.alerts"
    """Look at every alert."""
    NOTIFY = "nimbus.notify"
    """Messages of alerts wait to be sent (`triggers/notifications.py`)."""


CLOCK = "clock"
"""What beat sends and what takes milliseconds. Beside the Celery threads one of its own takes from it
(`workers/clock.py`)."""

# In this order a free worker thread looks for work: the clock, which no backlog may hold up, then callers who wait.
QUEUES: dict[str, tuple[Task, ...]] = {
    CLOCK: (Task.TICK, Task.SWEEP, Task.ROLLOUTS),
    "sync": (Task.RUN_CALL, Task.FAN_OUT, Task.ALERTS, Task.NOTIFY),
    "async": (Task.RUN_INVOCATION, Task.REPORT, Task.ADVANCE),
    "build": (Task.BUILD, Task.COMPILE, Task.RETENTION, Task.LEFTOVERS),
}
_QUEUE_OF = {task: queue for queue, tasks in QUEUES.items() for task in tasks}

_EXCHANGE = Exchange("nimbus", type="direct")


def configure(app: Celery) -> Celery:
    """The settings that both ends of the queue must share."""
    app.conf.update(
        broker_url=settings.CELERY_BROKER_URL,
        broker_transport_options={
            "queue_order_strategy": "priority",
            "socket_timeout": 5,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            # Rows and callers have their own deadlines (lifecycle.py); nothing waits for this one.
            "visibility_timeout": 3600,
        },
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_limit=32,
        task_queues=[Queue(name, _EXCHANGE, routing_key=name) for name in QUEUES],
        task_default_queue="async",
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=False,
        task_send_sent_event=False,
        worker_send_task_events=False,
        worker_prefetch_multiplier=1,
        # A message that no thread is free for stays in Redis, where another worker can take it.
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        enable_utc=True,
        timezone="UTC",
    )
    return app


def send(task: Task, *args: Any) -> None:
    """Publish now. Raises Unavailable when the broker can't be reached."""
    try:
        redis.connection().lpush(_QUEUE_OF[task], envelope(task, *args))
    except (RedisError, OSError) as error:
        raise Unavailable("The queue (Redis) can't be reached right now. Try again.") from error


async def send_async(client: AsyncRedis, task: Task, *args: Any) -> None:
    """`send` for the event loop. Raises Unavailable."""
    try:
        await cast("Awaitable[int]", client.lpush(_QUEUE_OF[task], envelope(task, *args)))
    except (RedisError, OSError) as error:
        raise Unavailable("The queue (Redis) can't be reached right now. Try again.") from error


def envelope(task: Task, *args: Any) -> bytes:
    """What Celery puts into Redis for a task: message protocol 2 (docs.celeryq.dev, "Message Protocol") in kombu's
    envelope. Celery's own way opens a client and asks Redis twice for each message, ten times the cost on the path of
    every call; a test holds this against it."""
    task_id = str(uuid4())
    body = orjson.dumps([args, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    headers = _HEADERS | {"task": task, "id": task_id, "root_id": task_id}
    properties = {
        "correlation_id": task_id,
        "reply_to": "",
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": _QUEUE_OF[task]},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": task_id,
    }
    return orjson.dumps(
        {
            "body": b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers,
            "properties": properties,
        }
    )


_HEADERS: dict[str, Any] = {
    "lang": "py",
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "timelimit": [None, None],
    "parent_id": None,
    "argsrepr": "",
    "kwargsrepr": "",
    "origin": "nimbus",
    "ignore_result": True,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": {},
}


def send_after_commit(task: Task, *args: Any) -> None:
    """Publish once the current transaction is committed. A broker that is away loses nothing: the row is the
    outbox and the sweeper sends it again."""

    def publish() -> None:
        try:
            send(task, *args)
        except Unavailable:
            return

    transaction.on_commit(partial(publish))


# One message for what waits, until a worker has it in hand: a thousand rows of a function need no thousand messages.
_WAKE = """
if redis.call('SET', KEYS[2], 1, 'NX', 'PX', ARGV[2]) then redis.call('LPUSH', KEYS[1], ARGV[1]) end
return 0
"""
_WOKEN_MS = 1000
"""After so long another message is sent: the one before may be lost."""


def wake_after_commit(task: Task, subject: str) -> None:
    """Tell a worker that something of `subject` waits, once the current transaction is committed. Nothing depends on
    it: the worker that takes the message (`woken`) looks at the rows, and others look by themselves now and then."""

    def publish() -> None:
        try:
            _wake_script()(keys=[_QUEUE_OF[task], _woken(task, subject)], args=[envelope(task, subject), _WOKEN_MS])
        except (RedisError, OSError):
            return

    transaction.on_commit(publish)


def woken(task: Task, subject: str) -> None:
    """A worker has the message in hand: from now on another one is needed. Before it looks at the rows. Raises
    RedisError."""
    redis.connection().delete(_woken(task, subject))


def _woken(task: Task, subject: str) -> str:
    return f"{redis.WOKEN}{task}:{subject}"


@lru_cache(maxsize=1)
def _wake_script() -> Script:
    return redis.connection().register_script(_WAKE)
