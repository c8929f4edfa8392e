"""Invocations of the last 24 hours in numbers: by status, runtime and hour.

Counted hour by hour. An hour that is over and settled does not change any more, so its numbers are kept in Redis for
long; those of the others for a few seconds. A look at a busy platform counts one hour, not a day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import orjson
from django.db.models import Count, QuerySet
from redis.exceptions import RedisError

from accounts import visibility
from accounts.principal import principal_var
from functions.models import Function
from invocations.models import Invocation
from invocations.outcome import TERMINAL
from invocations.selectors import visible
from nimbus_project.core import redis

HOURS = 24
FRESH_SEC = 5
"""How old numbers may be."""
KEPT_SEC = 6 * 3600
SETTLED_AFTER = timedelta(minutes=15)
"""Runs appear in the database when they have ended: longer than the longest run and its way there."""

Cell = tuple[str, str]
"""Status, runtime."""


@dataclass(frozen=True, slots=True)
class Hour:
    """One clock hour (UTC)."""

    begins: datetime
    counts: Mapping[Cell, int]


def statistics(now: datetime) -> dict[str, Any]:
    """The answer of `GET /stats`, of what the caller may see."""
    hours = hours_until(now)
    cells: Counter[Cell] = Counter()
    for hour in hours:
        cells.update(hour.counts)
    return {
        "functions": _functions().count(),
        "functions_by_status": _counts("status"),
        "functions_by_runtime": _counts("runtime"),
        "invocations": cells.total(),
        "by_status": _summed(cells, 0),
        "by_runtime": _summed(cells, 1),
        "by_hour": [
            {"hour": hour.begins, "invocations": sum(hour.counts.values()), "by_status": _summed(hour.counts, 0)}
            for hour in hours
        ],
    }


def hours_until(now: datetime) -> list[Hour]:
    """The hour under way and the 23 before, oldest first."""
    this = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    begins = [this - timedelta(hours=back) for back in reversed(range(HOURS))]
    kept = _read([_key(begin) for begin in begins])
    return [_hour(begin, data) or _count(begin, now) for begin, data in zip(begins, kept, strict=True)]


def _functions() -> QuerySet[Function]:
    return Function.objects.filter(visibility.visible()).order_by()


def _counts(field: str) -> dict[str, int]:
    rows: Any = _functions().values(field).annotate(n=Count("pk"))
    return {row[field]: row["n"] for row in rows}


def _summed(cells: Mapping[Cell, int], part: int) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for cell, count in cells.items():
        sums[cell[part]] += count
    return dict(sums)


def _count(begins: datetime, now: datetime) -> Hour:
    ends = begins + timedelta(hours=1)
    rows: Any = (
        Invocation.objects.filter(visible(), created_at__gte=begins, created_at__lt=ends)
        .order_by()
        .values_list("status", "runtime")
        .annotate(n=Count("pk"))
    )
    counts: dict[Cell, int] = {(status, runtime): n for status, runtime, n in rows}
    settled = now - ends > SETTLED_AFTER and all(status in TERMINAL for status, _ in counts)
    _keep(_key(begins), counts, KEPT_SEC if settled else FRESH_SEC)
    return Hour(begins, counts)


def _key(begins: datetime) -> str:
    who = principal_var.get()
    whose = "all" if who.is_admin else f"{who.user_id}:{who.role}"
    return f"{redis.STATS}{whose}:{begins:%Y%m%d%H}"


def _read(keys: list[str]) -> list[bytes | None]:
    try:
        return cast("list[bytes | None]", redis.connection().mget(keys))
    except RedisError:
        return [None] * len(keys)


def _hour(begins: datetime, data: bytes | None) -> Hour | None:
    if data is None:
        return None
    return Hour(begins, {(status, runtime): n for status, runtime, n in orjson.loads(data)})


def _keep(key: str, counts: Mapping[Cell, int], seconds: int) -> None:
    try:
        redis.connection().set(key, orjson.dumps([[*cell, n] for cell, n in counts.items()]), ex=seconds)
    except RedisError:
        return
