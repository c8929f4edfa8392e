"""The log of a webhook's deliveries: what came, what was answered, what it led to; and once more, if so wanted.

Written behind: a call leaves a note in memory, which its web process stores within FLUSH_SEC, so that a delivery costs
its caller no database. Bounded for each function, in memory as in the table: the newest KEPT that led to an invocation,
and apart from them, so that a flood of refused ones pushes none of those out, the newest KEPT_REFUSED.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter, deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet

from accounts import audit
from functions import directory
from functions.models import Function
from functions.selectors import function_get
from invocations import selectors, services
from invocations.calls import CallDesk
from invocations.errors import InvocationNotFound
from invocations.models import TriggerType
from invocations.services import NewInvocation
from nimbus_project.core.ids import as_uuid, new_id
from nimbus_project.core.metrics import WEBHOOK_REQUESTS
from triggers.errors import DeliveryNotFound, DeliveryNotKept
from triggers.models import WebhookDelivery

log = logging.getLogger("nimbus.webhooks")

FLUSH_SEC = 0.5
FLOOD_FLUSH_SEC = 2.0
"""While more comes to one function than is kept of it."""
KEPT = 500
KEPT_REFUSED = 100


class Noted(NamedTuple):
    """What a row will say (`WebhookDelivery`), as it is at hand: most of a flood are never stored."""

    function_id: str
    invocation_id: str | None
    delivery_id: str
    http_status: int
    code: str
    request_id: str
    address: str
    size_bytes: int
    duration_ms: float
    received_at: float
    """Unix seconds."""

    def values(self) -> tuple[object, ...]:
        """Of the row, in the same order."""
        return (*self[:-1], datetime.fromtimestamp(self.received_at, UTC))


# What has no value is null: `redelivery_of`, which nobody delivers again here.
_COPY = f"COPY {WebhookDelivery._meta.db_table} (id, {', '.join(Noted._fields)}) FROM STDIN"
_Kind = tuple[str, bool]
"""Of which function; whether it was refused."""
_waiting: dict[_Kind, deque[Noted]] = {}
_counts: Counter[tuple[str, str]] = Counter()
"""Requests by function and outcome, for the metric: to count each there takes longer than all else here."""
_noting = threading.Lock()
_writing = threading.Lock()


def note(delivery: Noted, function_name: str, outcome: str) -> None:
    """Have it stored, and counted as this `outcome`, soon. Takes microseconds."""
    kind = delivery.function_id, delivery.invocation_id is None
    with _noting:
        _queue(kind).append(delivery)
        _counts[function_name, outcome] += 1


def _queue(kind: _Kind) -> deque[Noted]:
    found = _waiting.get(kind)
    if found is None:
        found = _waiting[kind] = deque(maxlen=KEPT_REFUSED if kind[1] else KEPT)
    return found


async def write_behind(desk: CallDesk) -> None:
    """Store what was noted, for as long as the web process lives."""
    pause = FLUSH_SEC
    while True:
        await asyncio.sleep(pause)
        pause = FLUSH_SEC
        if _waiting:
            # Most of what is stored of a flood is stored in vain.
            is_flood = any(len(notes) == notes.maxlen for notes in list(_waiting.values()))
            pause = FLOOD_FLUSH_SEC if is_flood else FLUSH_SEC
            try:
                await desk.in_thread(flush)
            except DatabaseError:
                log.warning("deliveries of webhooks could not be stored; it is tried again")


def flush() -> None:
    """Store what this process has noted. Raises DatabaseError; the notes are kept then."""
    with _writing:
        with _noting:
            taken, counts = dict(_waiting), dict(_counts)
            _waiting.clear()
            _counts.clear()
        for labels, count in counts.items():
            WEBHOOK_REQUESTS.labels(*labels).inc(count)
        try:
            _store([noted for notes in taken.values() for noted in notes])
        except DatabaseError:
            _put_back(taken)
            raise
    for function_id in {function_id for function_id, _ in taken}:
        _prune(function_id)


def _store(notes: list[Noted]) -> None:
    if connection.vendor != "postgresql":
        rows = [WebhookDelivery(**dict(zip(Noted._fields, noted.values(), strict=True))) for noted in notes]
        WebhookDelivery.objects.bulk_create(rows, batch_size=500)
        return
    # The ORM's insert takes ten times as long, in the process that answers callers.
    with transaction.atomic(), connection.cursor() as cursor, connection.wrap_database_errors:
        with cast(Any, cursor).copy(_COPY) as copy:
            for noted in notes:
                copy.write_row((new_id(), *noted.values()))


def _put_back(taken: Mapping[_Kind, deque[Noted]]) -> None:
    with _noting:
        for kind, notes in taken.items():
            since = list(_queue(kind))
            _queue(kind).clear()
            _queue(kind).extend([*notes, *since])


def _prune(function_id: str) -> None:
    mine = WebhookDelivery.objects.filter(function_id=function_id).order_by("-received_at")
    for is_refused, kept in ((False, KEPT), (True, KEPT_REFUSED)):
        kind = mine.filter(invocation_id__isnull=is_refused)
        oldest_kept = kind.values_list("received_at", flat=True)[kept - 1 : kept].first()
        if oldest_kept is not None:
            kind.filter(received_at__lt=oldest_kept).delete()


def deliveries_of(function: Function) -> QuerySet[WebhookDelivery]:
    """Newest first; those of this process up to now, of others up to FLUSH_SEC ago."""
    flush()
    return WebhookDelivery.objects.filter(function_id=function.pk).order_by("-received_at", "-id")


def delivery_get(function: Function, reference: str) -> WebhookDelivery:
    """Raises DeliveryNotFound."""
    uuid = as_uuid(reference)
    found = deliveries_of(function).filter(pk=uuid).first() if uuid else None
    if found is None:
        raise DeliveryNotFound("There is no delivery of this id.")
    return found


def redeliver(reference: str, delivery: str, request_id: str, now: datetime) -> WebhookDelivery:
    """The same event once more, queued, for the function as it is now. Raises FunctionNotFound, DeliveryNotFound,
    DeliveryNotKept, and what `services.submit` raises."""
    function = function_get(reference)
    old = delivery_get(function, delivery)
    if old.invocation_id is None:
        raise DeliveryNotKept("This delivery was refused: nothing of it was kept that could be delivered again.")
    try:
        original = selectors.invocation_get(str(old.invocation_id))
    except InvocationNotFound as error:
        raise DeliveryNotKept("The invocation that this delivery led to is not kept any more.") from error
    if original.omitted_input_bytes is not None:
        raise DeliveryNotKept(f"The event was too large to be kept ({original.omitted_input_bytes} bytes).")
    new = NewInvocation(
        function=directory.look_up(str(function.pk)),
        event=bytes(original.input),
        request_id=request_id,
        id=new_id(),
        trigger_type=TriggerType.WEBHOOK,
        session_key=original.session_key,
    )
    with transaction.atomic():
        row = services.submit(new)
        again = WebhookDelivery.objects.create(
            function_id=function.pk,
            invocation_id=row.pk,
            redelivery_of=old.pk,
            delivery_id=old.delivery_id,
            http_status=202,
            request_id=request_id,
            size_bytes=old.size_bytes,
            received_at=now,
        )
        audit.record("webhook.redeliver", "webhook", function.pk, function.name, after={"delivery": str(old.pk)})
    return again
