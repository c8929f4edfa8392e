"""From an event to the invocations that it causes: rules are held against it, and each target of one that fits gets an
invocation, stored in one transaction with the note that it has been.

A message is a wake-up: whoever gets it works off all that waits, one thread of each worker at a time, so that events
never take the threads that callers wait for. Events are taken up, many at once, by moving their `due_at` (nobody else
takes them meanwhile), matched without holding any lock, and concluded by a compare-and-set on `fanned_out_at` in the
transaction of their deliveries: however often one is taken up, it is fanned out once. Beat's sweep finds what a dead
worker left.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Length
from django.utils import timezone
from redis.exceptions import RedisError

from accounts.rights import ADMIN
from nimbus_project.core import queue
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.queue import Task
from triggers import bus, event_deliveries, event_matching, event_replays, rule_directory
from triggers.event_deliveries import Sending
from triggers.models import Event
from triggers.rule_directory import LiveRule

log = logging.getLogger("nimbus.events")

LEASE = timedelta(seconds=30)
"""A worker that took an event up and is not done with it by then is taken for dead."""
MAX_TRIES = 5
"""An event that so many workers took up and none concluded is given up: it may be what kills them."""
TOGETHER = 100
"""Events that are fanned out in one transaction, at most,"""
TOGETHER_BYTES = 4 * 1024 * 1024
"""and what they have of payload."""
MATCHING_SEC = 5.0
MAX_SHOWN = 5
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
    steps: tuple[Callable[[datetime], bool], ...] = (_next_events, event_deliveries.next_one, event_replays.next_batch)
    return any(step(timezone.now()) for step in steps)


def _events(now: datetime) -> QuerySet[Event]:
    return Event.objects.filter(fanned_out_at=None, due_at__lte=now)


def _next_events(now: datetime) -> bool:
    """Some events, if any wait. False when there are none."""
    events = _taken(now)
    if not events:
        return False
    try:
        fan_out(events, now)
    except Exception:
        # One event's trouble must not keep the others: next time each comes by itself, and the one by its lease.
        log.exception("events can't be fanned out", extra={"events": [str(event.pk) for event in events][:MAX_SHOWN]})
        if len(events) > 1:
            _give_back(events)
    return True


def _taken(now: datetime) -> list[Event]:
    """Of what waits longest as much as goes together, ours for a while. What somebody has tried already is taken by
    itself: it may be what went wrong."""
    with transaction.atomic():
        waiting = _events(now).select_for_update(skip_locked=True).order_by("due_at")
        head = list(waiting.annotate(size=Length("body")).values_list("pk", "tries", "size")[:TOGETHER])
        if not head:
            return []
        chosen = [head[0][0]]
        total = head[0][2]
        if not head[0][1]:
            for pk, tries, size in head[1:]:
                total += size
                if tries or total > TOGETHER_BYTES:
                    break
                chosen.append(pk)
        Event.objects.filter(pk__in=chosen).update(due_at=now + LEASE, tries=F("tries") + 1)
    return list(Event.objects.filter(pk__in=chosen).order_by("accepted_at", "pk"))


def _give_back(events: Sequence[Event]) -> None:
    rest = Event.objects.filter(pk__in=[event.pk for event in events], fanned_out_at=None)
    rest.update(due_at=timezone.now())


def fan_out(events: Sequence[Event], now: datetime) -> bool:
    """Those of one batch, in one transaction. False when somebody else has done one of them meanwhile."""
    sendings: list[Sending] = []
    problems: dict[UUID, str] = {}
    done: list[UUID] = []
    rules, until = _rules_for(events), time.monotonic() + MATCHING_SEC
    for number, event in enumerate(events):
        if event.tries > MAX_TRIES:
            problems[event.pk] = f"{MAX_TRIES} workers took it up and none concluded it."
            log.error("an event is given up", extra={"event": str(event.pk)})
        else:
            found, problem = event_matching.sendings_of(event, rules)
            sendings += found
            problems |= {event.pk: problem} if problem else {}
        done.append(event.pk)
        if time.monotonic() > until:
            # What one takes is bounded, what many take would outlast their lease.
            _give_back(events[number + 1 :])
            break
    with transaction.atomic():
        waits = Event.objects.filter(pk__in=done, fanned_out_at=None)
        if waits.update(fanned_out_at=now) < len(done):
            transaction.set_rollback(True)
        else:
            for pk, problem in problems.items():
                Event.objects.filter(pk=pk).update(error=problem)
            event_deliveries.send(sendings, now)
            return True
    # Those of the batch that nobody has done yet: each by itself.
    _give_back(events)
    return False


def _rules_for(events: Sequence[Event]) -> list[LiveRule]:
    """Whatever may see any of them."""
    enabled = Q(enabled=True)
    if any(event.shared or event.owner_id is None for event in events):
        return rule_directory.rules(enabled)
    owners = {event.owner_id for event in events}
    return rule_directory.rules(enabled & (Q(owner_id__in=owners) | Q(role=ADMIN)))
