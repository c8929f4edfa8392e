"""From an event to the invocations that it causes: rules are held against it, and each target of one that fits gets an
invocation, stored in one transaction with the note that it has been.

A message is a wake-up: whoever gets it works off all that waits, one thread of each worker at a time, so that events
never take the threads that callers wait for. An event is taken up by moving its `due_at` (nobody else takes it
meanwhile), matched without holding any lock, and concluded by a compare-and-set on `fanned_out_at` in the transaction
of its deliveries: however often it is taken up, it is fanned out once. Beat's sweep finds what a dead worker left.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone
from redis.exceptions import RedisError

from accounts.rights import ADMIN
from nimbus_project.core import queue
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.queue import Task
from triggers import bus, event_deliveries, event_matching, event_replays
from triggers.event_deliveries import Sending
from triggers.models import Event, EventRule

log = logging.getLogger("nimbus.events")

LEASE = timedelta(seconds=30)
"""A worker that took an event up and is not done with it by then is taken for dead."""
MAX_TRIES = 5
"""An event that so many workers took up and none concluded is given up: it may be what kills them."""
AMONG = 16
SLICE_SEC = 10.0
"""A thread goes on for so long; then a new message does. Shorter than a stopping worker waits."""

_busy = threading.Lock()


def run_woken() -> int:
    """As `run`, for a message that asked for it: from now on another event sends another one."""
    try:
        queue.woken(Task.FAN_OUT, bus.EVENTS)
    except RedisError:
        # It runs out by itself after a second.
        pass
    return run()


def run() -> int:
    """Work off what waits. The count of things done. Any number at once do no harm."""
    # This thread served callers before: what happens now is by none of their requests.
    request_id_var.set("")
    done, until = 0, time.monotonic() + SLICE_SEC
    while _busy.acquire(blocking=False):
        try:
            while _step():
                done += 1
                if time.monotonic() > until:
                    queue.send(Task.FAN_OUT, bus.EVENTS)
                    return done
        finally:
            _busy.release()
        # Once more after the lock was given back: a message that was dropped in between is not missed.
        if not waiting(timezone.now()):
            break
    return done


def waiting(now: datetime) -> bool:
    """Whether there is anything to do."""
    return _events(now).exists() or event_deliveries.due(now).exists() or event_replays.due(now).exists()


def _step() -> bool:
    """The next thing to do, if there is one: new events first."""
    steps: tuple[Callable[[datetime], bool], ...] = (_next_event, event_deliveries.next_one, event_replays.next_batch)
    return any(step(timezone.now()) for step in steps)


def _events(now: datetime) -> Any:
    return Event.objects.filter(fanned_out_at=None, due_at__lte=now)


def _next_event(now: datetime) -> bool:
    """One event, if one waits. False when there is none."""
    head = list(_events(now).order_by("due_at").values_list("pk", "due_at")[:AMONG])
    if not head:
        return False
    # Workers look at the same head of the queue: chance keeps them from all taking its first row.
    pk, due_at = random.choice(head)
    taken = Event.objects.filter(pk=pk, fanned_out_at=None, due_at=due_at)
    if taken.update(due_at=now + LEASE, tries=F("tries") + 1):
        event = Event.objects.get(pk=pk)
        try:
            fan_out(event, now)
        except Exception:
            # One event's trouble must not keep the others; its lease brings it back.
            log.exception("an event can't be fanned out", extra={"event": str(pk)})
    return True


def fan_out(event: Event, now: datetime) -> bool:
    """False when somebody else has done it meanwhile."""
    problem = f"{MAX_TRIES} workers took it up and none concluded it." if event.tries > MAX_TRIES else ""
    sendings: list[Sending] = []
    if problem:
        log.error("an event is given up", extra={"event": str(event.pk)})
    else:
        sendings, problem = _matched(event)
    with transaction.atomic():
        waits = Event.objects.filter(pk=event.pk, fanned_out_at=None)
        if not waits.update(fanned_out_at=now, error=problem):
            return False
        for sending in sendings:
            event_deliveries.send(event, sending, now)
    return True


def _matched(event: Event) -> tuple[list[Sending], str]:
    """The targets of all rules that fit, and what has to be said about it."""
    visible = Q(owner_id=event.owner_id) | Q(role=ADMIN)
    everybodys = event.shared or event.owner_id is None
    rules = EventRule.objects.filter(enabled=True).order_by("pk")
    return event_matching.sendings_of(event, list(rules if everybodys else rules.filter(visible)))
