"""The only writer of `Invocation.status`.

    accept ──> pending ──claim──> running ──finish──> success | failed | timeout
                  │  ^               │ │
                  │  └──finish (to be tried again), give_back, expire_leases
                  └──cancel──> cancelled <──cancel──┘

Every move is a compare-and-set: `filter(pk, status=…, attempt=…).update(…)`. The row count decides; losing the race is
an answer (False), not an error. Synchronous runs have no row while they run: the ledger inserts them ended.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction
from django.db.models import F, Q

from invocations.answer import billed_ms
from invocations.models import Invocation, InvocationLog
from invocations.outcome import ErrorType, Fault, LogLine, Outcome, StartKind, Status
from invocations.retry import Tries, next_attempt_at
from nimbus_project.core import metrics

log = logging.getLogger("nimbus.lifecycle")

_CLEARED = {"worker_id": "", "lease_expires_at": None, "sent_at": None}


def accept(invocation: Invocation, now: datetime, *, delay_sec: float = 0.0) -> None:
    """Store a new one as pending. In a transaction of the caller's; the 202 comes after its commit."""
    invocation.status = Status.PENDING
    invocation.created_at = now
    invocation.next_attempt_at = now + timedelta(seconds=delay_sec)
    invocation.sent_at = now if delay_sec <= 0 else None
    invocation.save(force_insert=True)


def claim(row: Invocation, worker_id: str, now: datetime, lease_sec: float) -> bool:
    """pending → running, for one worker. `row` is updated to match."""
    queued_since = row.next_attempt_at or row.created_at
    queue_ms = max(0.0, (now - queued_since).total_seconds() * 1000)
    lease = now + timedelta(seconds=lease_sec)
    won = Invocation.objects.filter(pk=row.pk, status=Status.PENDING, attempt=row.attempt).update(
        status=Status.RUNNING,
        attempt=row.attempt + 1,
        worker_id=worker_id,
        started_at=now,
        queue_ms=queue_ms,
        lease_expires_at=lease,
        sent_at=None,
    )
    if won:
        row.status, row.attempt, row.worker_id = Status.RUNNING, row.attempt + 1, worker_id
        row.started_at, row.queue_ms, row.lease_expires_at = now, queue_ms, lease
    return bool(won)


def renew(worker_id: str, ids: Iterable[UUID], now: datetime, lease_sec: float) -> int:
    """Push the leases of a living worker's runs. The count of those that are still its own."""
    return Invocation.objects.filter(pk__in=list(ids), worker_id=worker_id, status=Status.RUNNING).update(
        lease_expires_at=now + timedelta(seconds=lease_sec)
    )


def finish(row: Invocation, outcome: Outcome, start: StartKind | None, now: datetime, jitter: float) -> bool:
    """running → its end, or back to pending for another try. False when somebody else has ended it meanwhile."""
    again_at = next_attempt_at(outcome, _tries(row), now, jitter)
    changes = _again(row, outcome, now, again_at) if again_at is not None else _end(outcome, now)
    changes |= {"start_kind": start or "", "duration_ms": outcome.duration_ms}
    if outcome.logs:
        with transaction.atomic():
            won = _move(row, Status.RUNNING, **changes)
            if won or _was_cancelled(row):
                _add_log(row, outcome.logs, now)
    else:
        won = _move(row, Status.RUNNING, **changes)
    if won and again_at is not None:
        metrics.RETRIES.inc()
    return won


def give_back(row: Invocation, now: datetime) -> bool:
    """running → pending: its worker stops and could not let it finish."""
    stopped = _lost("The worker was stopped while this ran.")
    return _move(row, Status.RUNNING, **_again(row, stopped, now, now))


def expire_leases(now: datetime, limit: int = 500) -> int:
    """running → pending (or failed, when that happened too often) for runs whose worker has not been heard of since
    their lease ended. The count."""
    rows = Invocation.objects.filter(status=Status.RUNNING, lease_expires_at__lt=now).defer("input", "output")
    moved = 0
    for row in rows.order_by("lease_expires_at")[:limit]:
        outcome = _lost(f"The worker {row.worker_id} was lost while this ran.")
        # A lost worker is no reason to wait: the back-off is for failures that may repeat at once.
        again = next_attempt_at(outcome, _tries(row), now, 0.0)
        changes = _end(outcome, now) if again is None else _again(row, outcome, now, now)
        moved += _move(row, Status.RUNNING, Q(lease_expires_at__lt=now), **changes)
    return moved


def cancel(invocation_id: UUID, now: datetime) -> bool:
    """pending | running → cancelled. False when it has ended already."""
    return bool(
        Invocation.objects.filter(pk=invocation_id, status__in=[Status.PENDING, Status.RUNNING]).update(
            status=Status.CANCELLED,
            error="Cancelled by request.",
            error_type=ErrorType.CANCELLED,
            fault=Fault.CALLER,
            completed_at=now,
            lease_expires_at=None,
            next_attempt_at=None,
        )
    )


def due(now: datetime, *, resend_after_sec: float, limit: int) -> list[UUID]:
    """Pending rows whose time has come and whose message was never sent, or so long ago that it may be lost; marked
    as sent now."""
    unsent = Q(sent_at=None) | Q(sent_at__lt=now - timedelta(seconds=resend_after_sec))
    ids = list(
        Invocation.objects.filter(unsent, status=Status.PENDING, next_attempt_at__lte=now)
        .order_by("next_attempt_at")
        .values_list("pk", flat=True)[:limit]
    )
    Invocation.objects.filter(pk__in=ids, status=Status.PENDING).update(sent_at=now)
    return ids


def _tries(row: Invocation) -> Tries:
    return Tries(attempt=row.attempt, lost=row.lost_attempts, max_attempts=row.max_attempts, expires_at=row.expires_at)


def _move(row: Invocation, expected: Status, *more: Q, **changes: Any) -> bool:
    # The attempt is part of the comparison: a worker that was thought dead must not end the next worker's try.
    return bool(Invocation.objects.filter(*more, pk=row.pk, status=expected, attempt=row.attempt).update(**changes))


def _end(outcome: Outcome, now: datetime) -> dict[str, Any]:
    return {
        "status": outcome.status,
        "output": outcome.output,
        "error": outcome.error,
        "error_type": outcome.error_type,
        "fault": outcome.fault or "",
        "stack_trace": list(outcome.stack_trace),
        "completed_at": now,
        "billed_time_ms": billed_ms(outcome.duration_ms),
        "memory_used_mb": outcome.memory_used_mb,
        "lease_expires_at": None,
        "next_attempt_at": None,
    }


def _again(row: Invocation, outcome: Outcome, now: datetime, at: datetime) -> dict[str, Any]:
    ended = {
        "attempt": row.attempt,
        "status": str(outcome.status),
        "error": outcome.error[:1000],
        "error_type": outcome.error_type,
        "worker_id": row.worker_id,
        "started_at": row.started_at.isoformat() if row.started_at else None,
        "ended_at": now.isoformat(),
    }
    lost = F("lost_attempts") + 1 if outcome.fault is Fault.PLATFORM else F("lost_attempts")
    return {
        "status": Status.PENDING,
        "attempts": [*row.attempts, ended],
        "lost_attempts": lost,
        "next_attempt_at": at,
        **_CLEARED,
    }


def _lost(error: str) -> Outcome:
    return Outcome(status=Status.FAILED, fault=Fault.PLATFORM, error=error, error_type=ErrorType.WORKER_LOST)


def _was_cancelled(row: Invocation) -> bool:
    """During this very try: what it had printed stays."""
    return Invocation.objects.filter(pk=row.pk, status=Status.CANCELLED, attempt=row.attempt).exists()


def _add_log(row: Invocation, lines: tuple[LogLine, ...], now: datetime) -> None:
    """Lines of this try after those of earlier ones. Only the holder of the row's current try gets here."""
    new = [(line.at_ms, line.stream, line.text) for line in lines]
    old = InvocationLog.objects.filter(pk=row.pk).first() if row.attempt > 1 else None
    if old is None:
        InvocationLog.objects.bulk_create(
            [InvocationLog(invocation_id=row.pk, function_id=row.function_id, lines=orjson.dumps(new), created_at=now)],
            ignore_conflicts=True,
        )
    else:
        old.lines = orjson.dumps([*orjson.loads(bytes(old.lines)), *new])
        old.save(update_fields=["lines"])
