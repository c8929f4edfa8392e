"""Replays: the events of a range of time, held against rules once more.

Each is a row that workers go through batch by batch. Its cursor moves on in the transaction of the deliveries, so that
a worker that dies loses and repeats nothing.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from accounts import audit, standing
from accounts.principal import acting_as, principal_var
from accounts.visibility import owned, visible
from nimbus_project.core import queue
from nimbus_project.core.errors import Conflict, InvalidRequest
from nimbus_project.core.ids import as_uuid
from nimbus_project.core.queue import Task
from triggers import bus, event_deliveries, event_matching, event_rules, rule_directory
from triggers.errors import EventReplayNotFound
from triggers.models import Event, EventReplay, ReplayStatus
from triggers.rule_directory import LiveRule

log = logging.getLogger("nimbus.events")

BATCH = 20
"""Events between two looks at what is more urgent."""
LEASE = timedelta(seconds=30)
MAX_RUNNING = 10
"""Of one owner."""


def replay_start(starts_at: datetime, ends_at: datetime, rule: str = "") -> EventReplay:
    """Of the events that the principal of this request sees, to the enabled rules that it sees, or to one of them.
    Raises InvalidRequest, EventRuleNotFound, Conflict for a rule that is disabled or too many replays at once."""
    now, who = timezone.now(), principal_var.get()
    if starts_at >= ends_at:
        raise InvalidRequest("to: Must be later than from.", details={"to": ["Must be later than from."]})
    only = event_rules.rule_get(rule) if rule else None
    if only is not None and not only.enabled:
        raise Conflict(f"The rule {only.name} is disabled. Enable it first.", code="event_rule_disabled")
    with transaction.atomic():
        running = EventReplay.objects.filter(owner_id=who.user_id, status=ReplayStatus.RUNNING)
        if running.count() >= MAX_RUNNING:
            raise Conflict(f"{MAX_RUNNING} replays are running already.", code="too_many_replays")
        replay = EventReplay.objects.create(
            owner_id=who.user_id,
            role=who.role,
            rule_id=only.pk if only else None,
            rule_name=only.name if only else "",
            starts_at=starts_at,
            # What comes from now on is delivered anyway.
            ends_at=min(ends_at, now),
            cursor_at=starts_at,
            due_at=now,
            created_at=now,
        )
        asked = {"from": starts_at, "to": ends_at, "rule": replay.rule_name}
        audit.record("event.replay", "event_replay", replay.pk, replay.rule_name, after=asked)
        queue.wake_after_commit(Task.FAN_OUT, bus.EVENTS)
    return replay


def replays() -> QuerySet[EventReplay]:
    """Those that may be seen, newest first."""
    return EventReplay.objects.filter(owned()).order_by("-created_at", "-id")


def replay_get(reference: str) -> EventReplay:
    """Raises EventReplayNotFound."""
    uuid = as_uuid(reference)
    row = replays().filter(pk=uuid).first() if uuid else None
    if row is None:
        raise EventReplayNotFound("There is no replay of this id.")
    return row


def due(now: datetime) -> QuerySet[EventReplay]:
    """Those that go on and that nobody has in hand."""
    return EventReplay.objects.filter(status=ReplayStatus.RUNNING, due_at__lte=now)


def next_batch(now: datetime) -> bool:
    """Some events of the replay that waits longest. False when none does."""
    replay = due(now).order_by("due_at").first()
    if replay is None:
        return False
    taken = EventReplay.objects.filter(pk=replay.pk, status=ReplayStatus.RUNNING, due_at=replay.due_at)
    if not taken.update(due_at=now + LEASE):
        return True
    try:
        _go_on(replay, now)
    except Exception:
        log.exception("a replay can't go on", extra={"replay": str(replay.pk)})
        return True
    EventReplay.objects.filter(pk=replay.pk, due_at=now + LEASE).update(due_at=timezone.now())
    return True


def _go_on(replay: EventReplay, now: datetime) -> None:
    with acting_as(standing.principal_of(replay.owner_id, replay.role)):
        only = Q(pk=replay.rule_id) if replay.rule_id else Q()
        rules = rule_directory.rules(Q(enabled=True) & owned() & only)
        later = Q(accepted_at__gt=replay.cursor_at) | Q(accepted_at=replay.cursor_at, id__gt=replay.cursor_id)
        rows = Event.objects.filter(visible(), later, accepted_at__gte=replay.cursor_at, accepted_at__lt=replay.ends_at)
        events = list(rows.order_by("accepted_at", "id")[:BATCH]) if rules else []
    if events and not _deliver(replay, events, rules, now):
        return
    if len(events) < BATCH:
        at_end = EventReplay.objects.filter(pk=replay.pk, status=ReplayStatus.RUNNING, cursor_id=replay.cursor_id)
        at_end.update(status=ReplayStatus.COMPLETED, completed_at=timezone.now())


def _deliver(replay: EventReplay, events: list[Event], rules: list[LiveRule], now: datetime) -> bool:
    """Deliver some events and move the cursor. False when somebody else has moved it meanwhile."""
    sendings = [sending for event in events for sending in event_matching.sendings_of(event, rules)[0]]
    last = events[-1]
    with transaction.atomic():
        here = EventReplay.objects.filter(pk=replay.pk, cursor_at=replay.cursor_at, cursor_id=replay.cursor_id)
        moved = here.update(
            cursor_at=last.accepted_at,
            cursor_id=last.pk,
            events=F("events") + len(events),
            deliveries=F("deliveries") + len(sendings),
        )
        if not moved:
            return False
        event_deliveries.send(sendings, now, replay.pk)
    replay.cursor_at, replay.cursor_id = last.accepted_at, last.pk
    return True
