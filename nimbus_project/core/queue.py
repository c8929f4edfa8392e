"""Every message from the domain to the workers: the names, the queues, and `send`.

The domain calls `send(Task.X, …)`; `workers/tasks.py` registers a body under that name. Neither imports the other.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache, partial
from typing import Any

from celery import Celery
from django.conf import settings
from django.db import transaction
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from nimbus_project.core.errors import Unavailable


class Task(StrEnum):
    """A name on the wire; permanent once released."""

    RUN_CALL = "nimbus.run_call"
    """A caller waits: the message is the whole call."""
    RUN_INVOCATION = "nimbus.run_invocation"
    """A row waits: the message is its id."""
    BUILD = "nimbus.build"
    """A BuildTask waits: the message is its id."""
    SWEEP = "nimbus.sweep"
    """Send lost messages again, give back expired leases."""
    ROLLOUTS = "nimbus.rollouts"
    """Decide on the next step of every running rollout."""


# In this order a free worker thread looks for work: callers who wait first.
QUEUES: dict[str, tuple[Task, ...]] = {
    "sync": (Task.RUN_CALL, Task.SWEEP, Task.ROLLOUTS),
    "async": (Task.RUN_INVOCATION,),
    "build": (Task.BUILD,),
}
_QUEUE_OF = {task: queue for queue, tasks in QUEUES.items() for task in tasks}

_EXCHANGE = Exchange("nimbus", type="direct")

# Redis answers on this machine or the next: a send that takes longer has failed, and the row is the outbox.
_RETRY_POLICY = {"max_retries": 1, "interval_start": 0.05, "interval_step": 0.1, "interval_max": 0.2}


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


@lru_cache(maxsize=1)
def _producer() -> Celery:
    return configure(Celery("nimbus-producer", set_as_current=False))


def send(task: Task, *args: Any) -> None:
    """Publish now. Raises Unavailable when the broker can't be reached."""
    try:
        _producer().send_task(
            task,
            args=args,
            queue=_QUEUE_OF[task],
            retry=True,
            retry_policy=_RETRY_POLICY,
            ignore_result=True,
            # Celery would write the arguments out once more for its logs: payloads don't belong there, and it is slow.
            argsrepr="",
            kwargsrepr="",
        )
    except (OperationalError, RedisError, OSError) as error:
        raise Unavailable("The queue (Redis) can't be reached right now. Try again.") from error


def send_after_commit(task: Task, *args: Any) -> None:
    """Publish once the current transaction is committed. A broker that is away loses nothing: the row is the
    outbox and the sweeper sends it again."""

    def publish() -> None:
        try:
            send(task, *args)
        except Unavailable:
            return

    transaction.on_commit(partial(publish))
