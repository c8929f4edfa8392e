"""Reading invocations. No writes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import orjson
from django.db.models import Avg, Case, Count, Q, QuerySet, Value, When
from django.db.models.functions import Length
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from redis.exceptions import RedisError

from functions.selectors import function_get
from functions.usage import Usage
from invocations import ledger
from invocations.errors import InvocationNotFound
from invocations.models import Invocation, InvocationLog, TriggerType
from invocations.outcome import Status
from nimbus_project.core import redis
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.ids import as_uuid, sane_request_id

LISTED_BYTES = 64 * 1024
"""A larger event or result is not read for a list; `GET /invocations/{id}` has it."""

Lines = list[tuple[int, str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationFilter:
    """What `GET /invocations` can ask for. None means any."""

    status: str | None = None
    function_id: UUID | None = None
    trigger_type: str | None = None
    before: datetime | None = None
    after: datetime | None = None
    cursor: tuple[datetime, UUID] | None = None
    """Rows older than this one."""

    @classmethod
    def from_query(cls, query: Mapping[str, str], function_id: UUID | None = None) -> InvocationFilter:
        """Raises InvalidRequest. The caller resolves a function given by name."""
        status, trigger = query.get("status") or None, query.get("trigger_type") or None
        _check("status", status is None or status in set(Status), f"Must be one of {', '.join(Status)}.")
        kinds = TriggerType.values
        _check("trigger_type", trigger is None or trigger in kinds, f"Must be one of {', '.join(kinds)}.")
        return cls(
            status=status,
            function_id=function_id,
            trigger_type=trigger,
            before=_moment(query, "before"),
            after=_moment(query, "after"),
            cursor=_cursor(query.get("cursor", "")),
        )


def _check(field: str, ok: bool, message: str) -> None:
    if not ok:
        raise InvalidRequest(f"{field}: {message}", details={field: [message]})


def _moment(query: Mapping[str, str], name: str) -> datetime | None:
    text = query.get(name)
    if not text:
        return None
    try:
        # "+" in a query string is a space: 2026-01-01T00:00:00+00:00 arrives with one.
        moment = parse_datetime(text.replace(" ", "+") if "T" in text else text)
        moment = moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
        moment = moment.astimezone(UTC) if moment is not None else None
    except (ValueError, OverflowError):
        moment = None
    _check(name, moment is not None, "Must be a time such as 2026-01-31T12:00:00Z (RFC 3339).")
    return moment


def cursor_after(row: Invocation) -> str:
    """The `next_cursor` of a list that ends with this row: opaque to clients."""
    return base64.urlsafe_b64encode(orjson.dumps([row.created_at.isoformat(), str(row.pk)])).decode().rstrip("=")


def _cursor(text: str) -> tuple[datetime, UUID] | None:
    if not text:
        return None
    try:
        at, row_id = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        return moment.astimezone(UTC), UUID(row_id)
    except (ValueError, TypeError, AttributeError, OverflowError, binascii.Error) as error:
        message = "Must be a next_cursor of an earlier answer."
        raise InvalidRequest(f"cursor: {message}", details={"cursor": [message]}) from error


def _wait_for_ledger() -> None:
    try:
        ledger.settle(redis.connection())
    except RedisError:
        return


def invocations_matching(wanted: InvocationFilter) -> QuerySet[Invocation]:
    """Newest first. What was answered before the call is in it."""
    _wait_for_ledger()
    rows = Invocation.objects.order_by("-created_at", "-id")
    exact = {"status": wanted.status, "function_id": wanted.function_id, "trigger_type": wanted.trigger_type}
    rows = rows.filter(**{key: value for key, value in exact.items() if value is not None})
    if wanted.before:
        rows = rows.filter(created_at__lt=wanted.before)
    if wanted.after:
        rows = rows.filter(created_at__gt=wanted.after)
    if wanted.cursor:
        at, row_id = wanted.cursor
        rows = rows.filter(Q(created_at__lt=at) | Q(created_at=at, id__lt=row_id))
    return rows


def listed(rows: QuerySet[Invocation]) -> QuerySet[Invocation]:
    """For a list: events and results read only when small (`listed_input`, `listed_output`)."""
    sized = rows.defer("input", "output").annotate(input_bytes=Length("input"), output_bytes=Length("output"))
    return sized.annotate(
        listed_input=Case(When(input_bytes__lte=LISTED_BYTES, then="input"), default=Value(None)),
        listed_output=Case(When(output_bytes__lte=LISTED_BYTES, then="output"), default=Value(None)),
    )


def invocation_get(reference: str) -> Invocation:
    """By id or request id (the newest of that). Raises InvocationNotFound."""
    if sane_request_id(reference) is not None:
        for settled in (False, True):
            if settled:
                _wait_for_ledger()
            row = _find(reference)
            if row is not None:
                return row
    raise InvocationNotFound("There is no invocation of this id.")


def _find(reference: str) -> Invocation | None:
    uuid = as_uuid(reference)
    if uuid is not None and (row := Invocation.objects.filter(pk=uuid).first()):
        return row
    return Invocation.objects.filter(request_id=reference).order_by("-created_at").first()


def next_due(now: datetime, *, not_of: Collection[str], among: int = 16) -> list[Invocation]:
    """Pending invocations whose time has come, longest waiting first; none of the functions `not_of`."""
    rows = Invocation.objects.filter(status=Status.PENDING, next_attempt_at__lte=now)
    if not_of:
        rows = rows.exclude(function_id__in=not_of)
    return list(rows.order_by("next_attempt_at")[:among])


def lines_of(invocation: Invocation) -> Lines:
    """What it printed so far: stored lines of ended tries, then the live ones of a try under way."""
    stored = InvocationLog.objects.filter(pk=invocation.pk).first()
    lines: Lines = orjson.loads(bytes(stored.lines)) if stored is not None else []
    if invocation.status == Status.RUNNING:
        lines += live_lines(str(invocation.pk))
    return lines


def live_lines(invocation_id: str) -> Lines:
    try:
        raw = cast("list[bytes]", redis.connection().lrange(redis.LINES + invocation_id, 0, -1))
    except RedisError:
        return []
    return [orjson.loads(line) for line in raw]


def usage_of(function_ids: Sequence[UUID]) -> dict[UUID, Usage]:
    """The last 24 hours, for the list of functions."""
    since = timezone.now() - timedelta(hours=24)
    ended = [Status.SUCCESS, Status.FAILED, Status.TIMEOUT]
    rows: Any = (
        Invocation.objects.filter(function_id__in=function_ids, created_at__gte=since, status__in=ended)
        .values("function_id")
        .annotate(n=Count("pk"), good=Count("pk", filter=Q(status=Status.SUCCESS)), latency=Avg("duration_ms"))
        .order_by()
    )
    return {row["function_id"]: Usage(row["n"], row["good"], row["latency"]) for row in rows}


def function_id_of(reference: str) -> UUID:
    """The id that a filter's `function_id` means: an id is taken as it is, for functions that are gone have history
    too; a name is looked up. Raises FunctionNotFound."""
    return as_uuid(reference) or function_get(reference).pk
