"""A function's own schedule: the row that stands for its `cron_expression` and `cron_timezone`.

Functions lie below and know nothing of schedules, so these follow: at each tick, and before schedules are listed.
"""

from __future__ import annotations

import logging
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef

from functions.models import Function
from triggers import schedule
from triggers.models import Schedule
from triggers.schedule import CronError

log = logging.getLogger("nimbus.cron")

NAME = "own"
"""Of each of them; others can't be named so."""


def follow(now: datetime) -> int:
    """Make, change and remove own schedules until each is what its function says. The count. Any number at once do no
    harm."""
    own = Schedule.objects.filter(is_own=True)
    same = {"cron_expression": F("function__cron_expression"), "cron_timezone": F("function__cron_timezone")}
    changed = own.exclude(**same).values_list("function_id", flat=True)
    new = Function.objects.exclude(cron_expression="").filter(~Exists(own.filter(function=OuterRef("pk"))))
    return sum(_follow(function_id, now) for function_id in [*changed, *new.values_list("pk", flat=True)])


def _follow(function_id: UUID, now: datetime) -> bool:
    with transaction.atomic():
        # Whoever changes the function now may take a while, and is followed by the next tick.
        function = Function.objects.select_for_update(skip_locked=True).filter(pk=function_id).first()
        if function is None:
            return False
        row = Schedule.objects.filter(function=function, is_own=True).first()
        if not function.cron_expression:
            return row is not None and bool(row.delete()[0])
        row = row or Schedule(function=function, is_own=True, name=NAME)
        row.cron_expression, row.cron_timezone = function.cron_expression, function.cron_timezone
        row.next_fire_at = _next(row, now) if row.enabled else None
        row.save()
    return True


def _next(row: Schedule, now: datetime) -> datetime | None:
    try:
        return schedule.next_fire(schedule.parse(row.cron_expression, row.cron_timezone), now)
    except CronError as error:
        log.error("a function's cron expression can't be used", extra={"function_id": str(row.function_id)})
        log.debug("why: %s", error)
        return None
