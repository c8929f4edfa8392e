"""Limits of owners, and what is over them. What an owner uses is counted by the apps above, which call down.

An owner has the limits of a row of their own, else those of the row without an owner. What nobody owns (embedded mode)
counts as one owner more.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db import connection, transaction

from accounts.models import Quota
from nimbus_project.core import redis
from nimbus_project.core.errors import Forbidden, TooManyRequests

MAX_AGE_SEC = 5.0
"""Should the news of a change be lost."""
REFRESH_SEC = 2.0
"""Limits of this age are read again while they are of use."""

# The first half of the advisory locks that serialise one owner's growth; any number that nothing else here uses.
_LOCK_SPACE = 0x6E71


class QuotaExceeded(Forbidden):
    """Of functions, memory or code."""

    code = "quota_exceeded"


class DailyQuotaExceeded(TooManyRequests):
    """Of invocations."""

    code = "quota_exceeded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """0: no limit."""

    max_functions: int = 0
    max_memory_mb: int = 0
    max_invocations_per_day: int = 0
    max_code_size_kb: int = 0

    @property
    def bound_growth(self) -> bool:
        return bool(self.max_functions or self.max_memory_mb or self.max_code_size_kb)


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """What an owner has, or what a change adds (negative: takes away)."""

    functions: int = 0
    memory_mb: int = 0
    code_bytes: int = 0


_known: dict[int | None, tuple[float, Limits]] = {}
_forgotten = 0


def known(owner_id: int | None) -> Limits | None:
    """From memory or not at all: never blocks."""
    entry = _known.get(owner_id)
    return entry[1] if entry is not None and time.monotonic() - entry[0] < MAX_AGE_SEC else None


def limits_of(owner_id: int | None) -> Limits:
    """From memory, else from the database into memory."""
    if (limits := known(owner_id)) is not None:
        return limits
    began = _forgotten
    limits = read_limits(owner_id)
    # A change while it was being read: it serves this caller, who came before, and none after.
    if began == _forgotten:
        _known[owner_id] = (time.monotonic(), limits)
    return limits


def refresh(owner_ids: Iterable[int | None], now: float) -> None:
    """Read the limits of those whose functions are called these days again, before their age is over; `now` is of
    `time.monotonic()`. Raises DatabaseError."""
    began = _forgotten
    for owner_id in owner_ids:
        entry = _known.get(owner_id)
        if entry is None or now - entry[0] >= REFRESH_SEC:
            limits = read_limits(owner_id)
            # As in `limits_of`.
            if began == _forgotten:
                _known[owner_id] = (now, limits)


def read_limits(owner_id: int | None) -> Limits:
    """From the database."""
    rows = Quota.objects.order_by("pk")
    row = rows.filter(owner_id=owner_id).first() if owner_id is not None else None
    row = row or rows.filter(owner_id=None).first()
    if row is None:
        return Limits()
    return Limits(
        max_functions=row.max_functions,
        max_memory_mb=row.max_memory_mb,
        max_invocations_per_day=row.max_invocations_per_day,
        max_code_size_kb=row.max_code_size_kb,
    )


def forget_all() -> None:
    """When limits have changed somewhere, or news may have been missed."""
    global _forgotten
    _forgotten += 1
    _known.clear()


def changed() -> None:
    """Call inside the transaction that changes a Quota: once committed, every process drops what it remembers."""

    def tell() -> None:
        forget_all()
        redis.publish(redis.QUOTAS, "*")

    transaction.on_commit(tell)


def lock_growth(owner_id: int | None) -> None:
    """Until the transaction ends, nobody else adds to what this owner has. Count after it, not before.

    Two who add at once would otherwise both count without the other and both find room. SQLite needs no lock of ours:
    its transactions take the one write lock of the database when they begin (`settings.py`).
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK_SPACE, owner_id or 0])


def check_growth(limits: Limits, has: Amount, added: Amount) -> None:
    """`has` is with what was `added`. Raises QuotaExceeded; a change that adds nothing may stay above a limit that was
    lowered."""
    for what, limit, total, more in (
        ("functions", limits.max_functions, has.functions, added.functions),
        ("MB of memory", limits.max_memory_mb, has.memory_mb, added.memory_mb),
        ("KiB of code", limits.max_code_size_kb, kib(has.code_bytes), added.code_bytes),
    ):
        if limit and more > 0 and total > limit:
            raise QuotaExceeded(
                f"This would make {total} {what}; the quota allows {limit}. "
                "Delete functions or ask an administrator for more."
            )


def kib(size_bytes: int) -> int:
    """Whole KiB begun."""
    return -(-size_bytes // 1024)


def percent(used: int, limit: int) -> float:
    """0 while there is no limit."""
    return round(100 * used / limit, 2) if limit else 0.0


def shape(limits: Limits, has: Amount, today: int) -> Mapping[str, int | float]:
    """The answer of `GET /quota`."""
    code_kb = kib(has.code_bytes)
    return {
        "function_count": has.functions,
        "total_memory_mb": has.memory_mb,
        "today_invocations": today,
        "total_code_size_kb": code_kb,
        "max_functions": limits.max_functions,
        "max_memory_mb": limits.max_memory_mb,
        "max_invocations_per_day": limits.max_invocations_per_day,
        "max_code_size_kb": limits.max_code_size_kb,
        "function_usage_percent": percent(has.functions, limits.max_functions),
        "memory_usage_percent": percent(has.memory_mb, limits.max_memory_mb),
        "invocation_usage_percent": percent(today, limits.max_invocations_per_day),
        "code_usage_percent": percent(code_kb, limits.max_code_size_kb),
    }
