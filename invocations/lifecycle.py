"""The only writer of `Invocation.status`.

    accept ──> pending ──claim──> running ──finish──> success | failed | timeout
                  │  ^               │ │
                  │  └──finish (to be tried again), give_back, expire_leases
                  └──cancel──> cancelled <──cancel──┘

Every move is a compare-and-set: `filter(pk, status=…, attempt=…).update(…)`. The row count decides; losing the race is
an answer (False), not an error. Synchronous runs have no row while they run: the ledger inserts them ended.

What must not be lost with a run's end is stored in the same transaction: a dead letter for one that failed for good
(dead_letters.py), a report for its destination (reports/outbox.py), or what listens instead of both (endings.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction
from django.db.models import Q

from functions import news
from invocations import backlog, dead_letters, endings
from invocations.answer import billed_ms
from invocations.models import Invocation, InvocationLog
from invocations.outcome import ErrorType, Fault, LogLine, Outcome, StartKind, Status
from invocations.reports import outbox
from invocations.retry import Decision, GaveUp, Tries, decide
from nimbus_project.core import metrics

log = logging.getLogger("nimbus.lifecycle")

MAX_HISTORY = 50
"""Of `Invocation.attempts`, the newest: what finds no sandbox is tried again for hours."""
_CLEARED = {"worker_id": "", "lease_expires_at": None}


def accept(invocation: Invocation, now: datetime, *, delay_sec: float = 0.0) -> None:
    """Store a new one as pending: one statement, committed with the caller's transaction if there is one. The 202 comes
    after that."""
    _begin(invocation, now, delay_sec)
    invocation.save(force_insert=True)


def accept_all(invocations: Sequence[Invocation], now: datetime) -> None:
    """As `accept`, for many in one statement."""
    for invocation in invocations:
        _begin(invocation, now)
    Invocation.objects.bulk_create(invocations)


def _begin(invocation: Invocation, now: datetime, delay_sec: float = 0.0) -> None:
    invocation.status = Status.PENDING
    invocation.created_at = now
    invocation.next_attempt_at = now + timedelta(seconds=delay_sec)


def claim(function_id: UUID, worker_id: str, now: datetime, lease_sec: float) -> Invocation | None:
    """pending → running, for one worker: the first due row of a function that nobody else takes. None when there is
    none."""
    changes = {
        "status": Status.RUNNING.value,
        "attempt": backlog.Sql("attempt + 1"),
        "worker_id": worker_id,
        "started_at": now,
        "queue_ms": backlog.milliseconds_since("next_attempt_at", now),
        "lease_expires_at": now + timedelta(seconds=lease_sec),
    }
    return backlog.take(Invocation, function_id, now, changes)


def renew(worker_id: str, ids: Iterable[UUID], now: datetime, lease_sec: float) -> int:
    """Push the leases of a living worker's runs. The count of those that are still its own."""
    return Invocation.objects.filter(pk__in=list(ids), worker_id=worker_id, status=Status.RUNNING).update(
        lease_expires_at=now + timedelta(seconds=lease_sec)
    )


def finish(row: Invocation, outcome: Outcome, start: StartKind | None, now: datetime, jitter: float) -> bool:
    """running → its end, or back to pending for another try. False when somebody else has ended it meanwhile."""
    decision = decide(outcome, _tries(row), now, jitter)
    ran = {"start_kind": start or "", "duration_ms": outcome.duration_ms}
    return _conclude(row, outcome, decision, now, **ran)


def expire_event(row: Invocation, now: datetime) -> bool:
    """running → failed, for a row that was claimed when its event was too old already: it is not run."""
    waited = "It waited longer than its function's max_event_age_sec allows."
    outcome = Outcome(status=Status.FAILED, fault=Fault.PLATFORM, error=waited, error_type=ErrorType.EVENT_TOO_OLD)
    never = {"attempt": row.attempt - 1, "started_at": None, "worker_id": "", "billed_time_ms": 0}
    return _conclude(row, outcome, Decision(gave_up=GaveUp.EVENT_AGE_EXCEEDED), now, **never)


def give_back(row: Invocation, now: datetime) -> bool:
    """running → pending: its worker stops and could not let it finish."""
    error = "The worker was stopped while this ran."
    outcome = Outcome(status=Status.FAILED, fault=Fault.PLATFORM, error=error, error_type=ErrorType.WORKER_STOPPED)
    return _move(row, Status.RUNNING, **_again(row, outcome, now, now))


def expire_leases(now: datetime, limit: int = 500) -> int:
    """running → pending (or failed, when that happened too often) for runs whose worker has not been heard of since
    their lease ended. The count."""
    rows = Invocation.objects.filter(status=Status.RUNNING, lease_expires_at__lt=now).defer("input", "output")
    moved = 0
    for row in rows.order_by("lease_expires_at")[:limit]:
        error = f"The worker {row.worker_id} was lost while this ran."
        outcome = Outcome(status=Status.FAILED, fault=Fault.PLATFORM, error=error, error_type=ErrorType.WORKER_LOST)
        decision = decide(outcome, _tries(row), now, 0.0)
        moved += _conclude(row, outcome, decision, now, Q(lease_expires_at__lt=now))
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


def _conclude(
    row: Invocation, outcome: Outcome, decision: Decision | None, now: datetime, *more: Q, **ran: Any
) -> bool:
    """End a try as was decided, with all that goes with it, in one transaction."""
    again_at = decision.again_at if decision else None
    changes = (_end(outcome, now) if again_at is None else _again(row, outcome, now, again_at)) | ran
    is_listened = again_at is None and endings.has_listener(row.trigger_type)
    gave_up = decision.gave_up if decision and not is_listened else None
    destination = outbox.destination_of(row, outcome) if again_at is None and not is_listened else {}
    if gave_up is None and not destination and not outcome.logs and not is_listened:
        won = _move(row, Status.RUNNING, *more, **changes)
    else:
        with transaction.atomic():
            won = _move(row, Status.RUNNING, *more, **changes)
            if outcome.logs and (won or _was_cancelled(row)):
                _add_log(row, outcome.logs, now)
            if won and gave_up is not None:
                row.attempt = ran.get("attempt", row.attempt)
                _give_up(row, outcome, gave_up, now)
            if won and destination:
                outbox.add(row, gave_up, destination, now)
            if won and is_listened:
                endings.tell(row.trigger_type, row.pk, now)
    if won and again_at is not None:
        metrics.RETRIES.inc()
    elif won and gave_up is not None:
        metrics.DEAD_LETTERS.inc()
    return won


def _give_up(row: Invocation, outcome: Outcome, reason: GaveUp, now: datetime) -> None:
    letter = dead_letters.add(row, outcome, reason, now)
    names = {"function_id": str(row.function_id), "function_name": row.function_name}
    news.tell("invocation.failed", dead_letter_id=str(letter.pk), invocation_id=str(row.pk), **names)


def _tries(row: Invocation) -> Tries:
    return Tries(
        attempt=row.attempt,
        lost=row.lost_attempts,
        workers_lost=row.workers_lost,
        max_attempts=row.max_attempts,
        expires_at=row.expires_at,
    )


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
    died = outcome.error_type == ErrorType.WORKER_LOST
    return {
        "status": Status.PENDING,
        "attempts": [*row.attempts, ended][-MAX_HISTORY:],
        "lost_attempts": row.lost_attempts + (outcome.fault is Fault.PLATFORM),
        "workers_lost": row.workers_lost + died,
        "next_attempt_at": at,
        **_CLEARED,
    }


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
