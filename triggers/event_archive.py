"""Reading events and what became of them. No writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet
from django.db.models.functions import Length

from accounts.visibility import owned, visible
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.ids import as_uuid
from nimbus_project.core.pagination import Cursor, cursor_from, moment_from
from triggers.errors import EventNotFound
from triggers.models import Event, EventDelivery
from triggers.models.events import TYPE_HEAD

MAX_DELIVERIES = 1000
"""Shown of one event, the newest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """What `GET /events` can ask for. Empty or None means any."""

    type: str = ""
    source: str = ""
    before: datetime | None = None
    after: datetime | None = None
    cursor: Cursor | None = None
    """Rows older than this one."""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> EventFilter:
        """Raises InvalidRequest."""
        for field in ("type", "source"):
            if "\0" in query.get(field, ""):
                message = "Must not contain a NUL character."
                raise InvalidRequest(f"{field}: {message}", details={field: [message]})
        return cls(
            type=query.get("type", ""),
            source=query.get("source", ""),
            before=moment_from(query, "before"),
            after=moment_from(query, "after"),
            cursor=cursor_from(query),
        )


def events_matching(wanted: EventFilter) -> QuerySet[Event]:
    """Of those that may be seen, newest first, without their bodies."""
    rows = Event.objects.filter(visible()).order_by("-accepted_at", "-id")
    if wanted.type:
        rows = rows.filter(type_head=wanted.type[:TYPE_HEAD], type=wanted.type)
    if wanted.source:
        rows = rows.filter(source=wanted.source)
    if wanted.before:
        rows = rows.filter(accepted_at__lt=wanted.before)
    if wanted.after:
        rows = rows.filter(accepted_at__gt=wanted.after)
    if wanted.cursor:
        at, row_id = wanted.cursor
        rows = rows.filter(Q(accepted_at__lt=at) | Q(accepted_at=at, id__lt=row_id))
    return rows


def listed(rows: QuerySet[Event]) -> QuerySet[Event]:
    """For a list: the size of the body (`body_bytes`) instead of it."""
    return rows.defer("body").annotate(body_bytes=Length("body"))


def event_get(reference: str) -> Event:
    """Among those that may be seen. Raises EventNotFound."""
    uuid = as_uuid(reference)
    row = Event.objects.filter(visible(), pk=uuid).first() if uuid else None
    if row is None:
        raise EventNotFound("There is no event of this id.")
    return row


def deliveries_of(event: Event) -> list[EventDelivery]:
    """By rules that may be seen, oldest first."""
    rows = EventDelivery.objects.filter(owned(), event_id=event.pk).order_by("-created_at", "-id")
    return list(rows[:MAX_DELIVERIES])[::-1]
