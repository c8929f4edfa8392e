"""Runs of versions through an alias, measured for rollouts."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from functions.rollout_policy import Stats, stats_of
from invocations.models import Invocation
from invocations.outcome import Fault, Status

MAX_RUNS = 2000
"""Newest runs that are looked at: bounds what a look costs when a step lasts hours at full load."""


def runs_through(function_id: UUID, alias: str, versions: Collection[int], since: datetime) -> Stats:
    """The newest runs since then that count: ended by the function itself, well or badly. A retried invocation is one
    run, with its last end."""
    rows = (
        Invocation.objects.filter(function_id=function_id, created_at__gte=since)
        .filter(alias_used=alias, version__in=versions)
        .filter(status__in=[Status.SUCCESS, Status.FAILED, Status.TIMEOUT])
        .exclude(fault__in=[Fault.PLATFORM, Fault.CALLER])
        .order_by("-created_at")
        .values_list("status", "duration_ms")[:MAX_RUNS]
    )
    return stats_of([(status == Status.SUCCESS, duration or 0.0) for status, duration in rows])
