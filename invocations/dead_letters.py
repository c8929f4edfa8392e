"""Dead letters: made when a queued invocation has failed for good, read, discarded, deleted. Retrying them is in
redrive.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Case, Count, Min, Q, QuerySet, Value, When
from django.db.models.functions import Length
from django.utils import timezone

from accounts import audit
from accounts.principal import principal_var
from invocations.errors import DeadLetterNotFound, DeadLetterResolved
from invocations.models import DeadLetter, DeadLetterStatus, Invocation
from invocations.outcome import Outcome
from invocations.retry import GaveUp
from invocations.selectors import LISTED_BYTES, of_visible_functions
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.ids import as_uuid
from nimbus_project.core.pagination import Cursor, cursor_from

TOP_FUNCTIONS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """What `GET /dlq` can ask for. None means any."""

    function_id: UUID | None = None
    status: str | None = None
    cursor: Cursor | None = None
    """Rows older than this one."""

    @classmethod
    def from_query(cls, query: Mapping[str, str], function_id: UUID | None) -> DeadLetterFilter:
        """Raises InvalidRequest. The caller resolves a function given by name."""
        status = query.get("status") or None
        if status is not None and status not in DeadLetterStatus.values:
            message = f"Must be one of {', '.join(DeadLetterStatus.values)}."
            raise InvalidRequest(f"status: {message}", details={"status": [message]})
        return cls(function_id=function_id, status=status, cursor=cursor_from(query))


def add(row: Invocation, outcome: Outcome, reason: GaveUp, now: datetime) -> DeadLetter:
    """In the transaction that ends the invocation."""
    return DeadLetter.objects.create(
        invocation_id=row.pk,
        request_id=row.request_id,
        function_id=row.function_id,
        function_name=row.function_name,
        version=row.version,
        alias_used=row.alias_used,
        environment=row.environment,
        owner_id=row.owner_id,
        trigger_type=row.trigger_type,
        session_key=row.session_key,
        hops=row.hops,
        input=row.input,
        reason=reason,
        error=outcome.error,
        error_type=outcome.error_type,
        fault=outcome.fault or "",
        attempts=row.attempt,
        created_at=now,
    )


def dead_letters(wanted: DeadLetterFilter) -> QuerySet[DeadLetter]:
    """Of those that may be seen, newest first."""
    rows = DeadLetter.objects.filter(of_visible_functions()).order_by("-created_at", "-id")
    if wanted.function_id is not None:
        rows = rows.filter(function_id=wanted.function_id)
    if wanted.status is not None:
        rows = rows.filter(status=wanted.status)
    if wanted.cursor:
        at, row_id = wanted.cursor
        rows = rows.filter(Q(created_at__lt=at) | Q(created_at=at, id__lt=row_id))
    return rows


def listed(rows: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
    """For a list: events are read only when small (`listed_input`)."""
    return (
        rows.defer("input")
        .annotate(input_bytes=Length("input"))
        .annotate(listed_input=Case(When(input_bytes__lte=LISTED_BYTES, then="input"), default=Value(None)))
    )


def dead_letter_get(reference: str, *, for_update: bool = False) -> DeadLetter:
    """By its id or that of its invocation, among those that may be seen. Raises DeadLetterNotFound. `for_update` needs
    a transaction."""
    uuid = as_uuid(reference)
    rows = DeadLetter.objects.select_for_update() if for_update else DeadLetter.objects.all()
    row = rows.filter(of_visible_functions(), Q(pk=uuid) | Q(invocation_id=uuid)).first() if uuid else None
    if row is None:
        raise DeadLetterNotFound("There is no dead letter of this id.")
    return row


def statistics() -> dict[str, Any]:
    """Of those that may be seen: ``{total, by_status, by_reason, by_function, oldest_pending_at*}``; the reasons and
    the functions (those with most) are of the pending ones."""
    rows = DeadLetter.objects.filter(of_visible_functions()).order_by()
    pending = rows.filter(status=DeadLetterStatus.PENDING)
    by_status = {row["status"]: row["n"] for row in rows.values("status").annotate(n=Count("pk"))}
    functions = pending.values("function_id", "function_name").annotate(n=Count("pk")).order_by("-n", "function_name")
    oldest = pending.aggregate(at=Min("created_at"))["at"]
    shape: dict[str, Any] = {
        "total": sum(by_status.values()),
        "by_status": {status: by_status.get(status, 0) for status in DeadLetterStatus.values},
        "by_reason": {row["reason"]: row["n"] for row in pending.values("reason").annotate(n=Count("pk"))},
        "by_function": [
            {"function_id": str(row["function_id"]), "function_name": row["function_name"], "pending": row["n"]}
            for row in functions[:TOP_FUNCTIONS]
        ],
    }
    return shape | ({"oldest_pending_at": oldest} if oldest else {})


def resolve(letter: DeadLetter, status: DeadLetterStatus, **more: Any) -> None:
    """pending → retried | discarded, once. In a transaction that holds the row. Raises DeadLetterResolved."""
    if letter.status != DeadLetterStatus.PENDING:
        raise DeadLetterResolved(f"The dead letter was {letter.status} already.")
    letter.status, letter.resolved_at, letter.resolved_by = status, timezone.now(), principal_var.get().name
    for name, value in more.items():
        setattr(letter, name, value)
    letter.save(update_fields=["status", "resolved_at", "resolved_by", *more])


def discard(reference: str) -> DeadLetter:
    """Keep it, but as one that nobody has to look at. Raises DeadLetterNotFound, DeadLetterResolved."""
    with transaction.atomic():
        letter = dead_letter_get(reference, for_update=True)
        resolve(letter, DeadLetterStatus.DISCARDED)
        audit.record("dead_letter.discard", "dead_letter", letter.pk, letter.function_name)
    return letter


def delete(reference: str) -> None:
    """Raises DeadLetterNotFound."""
    with transaction.atomic():
        letter = dead_letter_get(reference, for_update=True)
        before = {"status": letter.status, "invocation_id": str(letter.invocation_id)}
        audit.record("dead_letter.delete", "dead_letter", letter.pk, letter.function_name, before=before)
        letter.delete()


def delete_of(function_id: UUID, status: str | None) -> int:
    """All of a function, of one status if given. The count."""
    with transaction.atomic():
        rows = dead_letters(DeadLetterFilter(function_id=function_id, status=status)).order_by()
        deleted, _ = rows.delete()
        if deleted:
            before = {"count": deleted, "status": status or "any"}
            audit.record("dead_letter.delete_of_function", "function", function_id, before=before)
    return deleted
