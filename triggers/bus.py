"""The event bus's way in: events are stored, each once, and handed to the workers that fan them out (fan_out.py).

Whoever publishes owns what it publishes; a rule sees the events that its owner may see. What the platform publishes
(types that begin with ``nimbus.``) belongs to the owner of the function that it is about.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from accounts.principal import principal_var
from invocations.hops import ATTRIBUTE, told
from invocations.services import MAX_HOPS
from nimbus_project.config import config
from nimbus_project.core import queue
from nimbus_project.core.ids import new_id
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.queue import Task
from triggers.cloudevents import CloudEvent
from triggers.errors import InvalidCloudEvent
from triggers.models import Event
from triggers.models.events import TYPE_HEAD

log = logging.getLogger("nimbus.events")

PLATFORM = "nimbus."
"""What types of the platform's own events begin with; nobody else's may."""
MAX_BATCH = 500
EVENTS = "events"
"""What the message that wakes a worker is about."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that is stored now. `id`: of the row; of a duplicate, that of the first."""

    id: UUID
    event: CloudEvent
    is_duplicate: bool


def accept(events: Sequence[CloudEvent]) -> list[Accepted]:
    """Store what the principal of this request publishes: committed when this returns. Raises InvalidCloudEvent."""
    if len(events) > MAX_BATCH:
        raise InvalidCloudEvent(f"Is a batch of {len(events)} events; at most {MAX_BATCH} are taken at once.")
    limit = config().max_event_bytes
    for number, event in enumerate(events):
        at = f"{number}." if len(events) > 1 else ""
        if event.type.casefold().startswith(PLATFORM):
            message = f"Types that begin with {PLATFORM} are the platform's own."
            raise InvalidCloudEvent(f"{at}type: {message}", details={f"{at}type": [message]})
        if len(event.json) > limit:
            message = f"Is {len(event.json)} bytes long; at most {limit} are allowed."
            raise InvalidCloudEvent(f"{at}data: {message}", details={f"{at}data": [message]})
    return publish(events, principal_var.get().user_id)


def publish(
    events: Sequence[CloudEvent], owner_id: int | None, *, shared: bool = False, hops: int = 0
) -> list[Accepted]:
    """Store events of this owner, in the caller's transaction if there is one: they stand or fall with it. Those that
    are known by source and id stay as they are. `hops`: triggers on the way here, those of the run that led to it.
    No rights are asked for."""
    rows = [_row(event, owner_id, shared, hops) for event in events]
    known = _store(rows)
    if rows:
        queue.wake_after_commit(Task.FAN_OUT, EVENTS)
    return [
        Accepted(known[row.identity], event, known[row.identity] != row.pk)
        for row, event in zip(rows, events, strict=True)
    ]


def _store(rows: Sequence[Event]) -> dict[str, UUID]:
    """The ids that stand now, by identity: of those that were there already, theirs."""
    if len(rows) == 1 and _inserted(rows[0]):
        return {rows[0].identity: rows[0].pk}
    with transaction.atomic():
        # In one order for everybody: two batches with the same events must not wait for each other.
        Event.objects.bulk_create(sorted(rows, key=lambda row: row.identity), ignore_conflicts=True)
        # Which of them are new, the insert does not say.
        stored = Event.objects.filter(identity__in=[row.identity for row in rows])
        return dict(stored.values_list("identity", "pk"))


def _inserted(row: Event) -> bool:
    """One event by one statement, which is a transaction by itself unless the caller has one. False when it is there
    already."""
    try:
        with transaction.atomic() if connection.in_atomic_block else nullcontext():
            row.save(force_insert=True)
    except IntegrityError:
        return False
    return True


def _row(event: CloudEvent, owner_id: int | None, shared: bool, hops: int) -> Event:
    now = timezone.now()
    hops = max(hops, told(event.document.get(ATTRIBUTE)))
    is_round = hops > MAX_HOPS
    if is_round:
        log.warning("an event goes round", extra={"event_type": event.type[:200], "hops": hops})
    return Event(
        id=new_id(),
        identity=_identity(event, owner_id),
        owner_id=owner_id,
        shared=shared,
        event_id=event.id,
        source=event.source,
        type=event.type,
        type_head=event.type[:TYPE_HEAD],
        subject=event.subject,
        body=event.json,
        hops=hops,
        request_id=request_id_var.get()[:128],
        accepted_at=now,
        due_at=now,
        fanned_out_at=now if is_round else None,
        error=f"It is the result of {hops} triggers one after the other: it is going round." if is_round else "",
    )


def _identity(event: CloudEvent, owner_id: int | None) -> str:
    """Each owner's for itself: nobody can take another's ids. None of the parts has a NUL in it."""
    kind = PLATFORM if event.type.startswith(PLATFORM) else ""
    whose = "" if owner_id is None else str(owner_id)
    return hashlib.sha256("\0".join((whose, kind, event.source, event.id)).encode()).hexdigest()
