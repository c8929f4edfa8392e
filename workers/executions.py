"""Executions of workflows on a worker: advanced one by one, whenever something about them is due."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from uuid import UUID

from django.utils import timezone
from redis.exceptions import RedisError

from nimbus_project.core.errors import Unavailable
from nimbus_project.core.queue import Task, woken
from nimbus_project.core.unforeseen import outage_of
from workers.takers import Took
from workflows import advance

if TYPE_CHECKING:
    from workers.worker import Worker

log = logging.getLogger("nimbus.workflows")

PLACES = 4
"""Executions that one worker advances at once. Each for milliseconds: what their calls do is done elsewhere."""


def wake(worker: Worker, execution_id: str) -> None:
    """A message: this execution can go on."""
    try:
        woken(Task.ADVANCE, execution_id)
    except RedisError:
        log.debug("the next message for this execution may come a second late")
    worker.advancers.wake(execution_id)


def take_one(execution_id: str) -> Took:
    """Raises DatabaseError, Unavailable when something is away: it is tried again in a second."""
    try:
        return Took.ONE if advance.advance(UUID(execution_id), timezone.now()) else Took.NONE
    except Exception as error:
        if isinstance(error, Unavailable) or outage_of(error):
            raise
        log.exception("an execution can't be advanced", extra={"execution_id": execution_id})
        advance.give_up(UUID(execution_id), timezone.now())
        return Took.ONE
