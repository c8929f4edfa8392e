"""Old rows go at night, and when an administrator asks for it: in small batches with pauses, so that nobody waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.retention import AUDIT
from invocations.retention import DEAD_LETTERS, IDEMPOTENCY_KEYS, INVOCATIONS, LOGS, REPORTS
from nimbus_project.config import config
from nimbus_project.core import queue
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.pruning import Prunable
from nimbus_project.core.queue import Task
from triggers import alert_retention, event_retention
from triggers.models import ScheduleFire, WebhookDelivery
from workflows.retention import DEFINITIONS, EXECUTIONS

log = logging.getLogger("nimbus.retention")

FIRES = Prunable(
    name="schedule_fires",
    keep_days=lambda config: config.retention_fires_days,
    rows=ScheduleFire.objects.all,
    age="created_at",
)

DELIVERIES = Prunable(
    name="webhook_deliveries",
    keep_days=lambda config: config.retention_deliveries_days,
    rows=WebhookDelivery.objects.all,
    age="received_at",
)

# Every table that loses its old rows, in the order in which it is done. A new one is one line here.
TABLES: tuple[Prunable, ...] = (
    LOGS,
    INVOCATIONS,
    REPORTS,
    DEAD_LETTERS,
    IDEMPOTENCY_KEYS,
    EXECUTIONS,
    DEFINITIONS,
    FIRES,
    event_retention.EVENTS,
    event_retention.DELIVERIES,
    event_retention.REPLAYS,
    DELIVERIES,
    alert_retention.CHANGES,
    alert_retention.NOTIFICATIONS,
    AUDIT,
)
NAMES = tuple(table.name for table in TABLES)

BATCH = 500
LEAST_PAUSE_SEC = 0.02
"""Between two batches; at least as long as the batch took, so that half of the time is others'."""
SLICE_SEC = 15.0
"""A worker's thread is held no longer; then a new message goes on. Shorter than a stopping worker waits."""
ASKED_SEC = 4.0
"""So long an administrator's request deletes by itself; a worker does the rest."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to go: by default what is older than the settings say."""

    older_than_days: int | None = None
    """For all tables instead of their own."""
    tables: Collection[str] = NAMES

    def cuts(self, now: datetime) -> list[tuple[Prunable, datetime]]:
        """Of each table, before when; without those that are kept for ever."""
        found = []
        for table in TABLES:
            days = table.keep_days(config()) if self.older_than_days is None else self.older_than_days
            kept = self.older_than_days is None and days == 0
            if table.name in self.tables and not kept:
                found.append((table, now - timedelta(days=max(days, table.least_days))))
        return found


@dataclass(slots=True)
class Pruned:
    deleted: dict[str, int] = field(default_factory=dict)
    """Rows by table, those with none left out."""
    is_complete: bool = True


def prune(
    wanted: Wanted,
    now: datetime,
    budget_sec: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Pruned:
    """Delete for at most about so long. Two at once do no harm."""
    result, until = Pruned(), clock() + budget_sec
    for table, before in wanted.cuts(now):
        while True:
            began = clock()
            if began >= until:
                result.is_complete = False
                return result
            count = _batch_of(table, before)
            if not count:
                break
            result.deleted[table.name] = result.deleted.get(table.name, 0) + count
            pause(max(LEAST_PAUSE_SEC, clock() - began))
    return result


def _batch_of(table: Prunable, before: datetime) -> int:
    try:
        return table.delete(before, BATCH)
    except IntegrityError:
        # Something still points to these rows: a mistake of this table's, which must not keep the others.
        log.exception("old rows can't be deleted", extra={"table": table.name})
        return 0


def go_on(older_than_days: int | None = None, tables: Collection[str] = NAMES) -> Pruned:
    """One slice, and a message for the next one if there is more: once a night by beat, then by these messages."""
    request_id_var.set("")
    result = prune(Wanted(older_than_days, tables), timezone.now(), SLICE_SEC)
    if result.deleted:
        log.info("old rows deleted", extra={"deleted": result.deleted, "complete": result.is_complete})
    if not result.is_complete:
        queue.send(Task.RETENTION, older_than_days, list(tables))
    return result


def clean_up(wanted: Wanted) -> Pruned:
    """As an administrator asked for. What is not done at once is left to the workers. Raises Unavailable."""
    result = prune(wanted, timezone.now(), ASKED_SEC)
    asked = {"older_than_days": wanted.older_than_days, "tables": list(wanted.tables)}
    with transaction.atomic():
        after = asked | {"deleted": result.deleted, "complete": result.is_complete}
        audit.record("retention.cleanup", "retention", "", after=after)
    if not result.is_complete:
        queue.send(Task.RETENTION, wanted.older_than_days, list(wanted.tables))
    return result


def would_go(wanted: Wanted, now: datetime) -> dict[str, int]:
    """Rows by table, those with none left out."""
    counts = {table.name: table.old(before).count() for table, before in wanted.cuts(now)}
    return {name: count for name, count in counts.items() if count}


def statistics(now: datetime) -> list[dict[str, Any]]:
    """Of each table ``{name, rows, oldest, keep_days, expired}``: how many there are, since when, how many would go."""
    cuts = {table.name: before for table, before in Wanted().cuts(now)}
    return [
        {
            "name": table.name,
            "rows": table.rows().count(),
            "oldest": table.oldest(),
            "keep_days": table.keep_days(config()),
            "expired": table.old(cuts[table.name]).count() if table.name in cuts else 0,
        }
        for table in TABLES
    ]
