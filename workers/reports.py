"""Reports of ended runs on a worker: taken one by one, sent to where their functions say."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from uuid import UUID

from django.utils import timezone
from redis.exceptions import RedisError

from invocations.reports import delivery
from nimbus_project.core.queue import Task, woken
from workers.takers import Took

if TYPE_CHECKING:
    from workers.worker import Worker

log = logging.getLogger("nimbus.reports")

PLACES = 4
"""Reports that one worker sends at once. A URL that does not answer holds one for some seconds."""


def wake(worker: Worker, function_id: str) -> None:
    """A message: runs of this function have ended."""
    try:
        woken(Task.REPORT, function_id)
    except RedisError:
        log.debug("the next message for this function may come a second late")
    worker.reporters.wake(function_id)


def take_one(function_id: str) -> Took:
    """Raises DatabaseError when it is away."""
    now = timezone.now()
    report = delivery.take(UUID(function_id), now)
    if report is None:
        return Took.NONE
    delivery.deliver(report, now)
    return Took.ONE
