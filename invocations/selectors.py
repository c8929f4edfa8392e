"""Reading invocations. No writes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

import orjson
from django.db.models import Avg, Case, Count, Q, QuerySet, Value, When
from django.db.models.functions import Length
from django.utils import timezone
from redis.exceptions import RedisError

from accounts.principal import principal_var
from accounts.rights import INVOKER
from functions.models import Function
from functions.selectors import function_get
from functions.usage import Usage
from invocations import ledger
from invocations.errors import InvocationNotFound
from invocations.models import Invocation, InvocationLog, TriggerType
from invocations.outcome import Status
from nimbus_project.core import redis
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.ids import as_uuid, sane_request_id
from nimbus_project.core.pagination import Cursor, cursor_from, moment_from

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
    cursor: Cursor | None = None
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
            before=moment_from(query, "before"),
            after=moment_from(query, "after"),
            cursor=cursor_from(query),
        )


def _check(field: str, ok: bool, message: str) -> None:
    if not ok:
        raise InvalidRequest(f"{field}: {message}", details={field: [message]})


def _wait_for_ledger() -> None:
    try:
        ledger.settle(redis.connection())
    except RedisError:
        return


def visible() -> Q:
    """Which invocations the principal of this request may see: those of its own functions, also when they are gone,
    of ownerless and of shared ones; an invoker the calls that it made itself."""
    who = principal_var.get()
    if who.is_admin:
        return Q()
    if who.role == INVOKER:
        return Q(caller_id=who.user_id, caller_id__isnull=False)
    return of_visible_functions()


def of_visible_functions() -> Q:
    """Rows of history (`function_id`, `owner_id`) of the functions that the principal of this request may see, also
    of those of its own that are gone."""
    who = principal_var.get()
    if who.is_admin:
        return Q()
    if not who.role or who.role == INVOKER:
        return Q(pk__in=())
    shared = Function.objects.filter(shared=True).values("pk")
    own = Q(owner_id=who.user_id) if who.user_id is not None else Q()
    return Q(owner_id=None) | Q(function_id__in=shared) | own


def invocations_matching(wanted: InvocationFilter) -> QuerySet[Invocation]:
    """Of those that may be seen, newest first. What was answered before the call is in it."""
    _wait_for_ledger()
    rows = Invocation.objects.filter(visible()).order_by("-created_at", "-id")
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
    """By id or request id (the newest of that), among those that may be seen. Raises InvocationNotFound."""
    if sane_request_id(reference) is not None:
        for settled in (False, True):
            if settled:
                _wait_for_ledger()
            row = _find(reference)
            if row is not None:
                return row
    raise InvocationNotFound("There is no invocation of this id.")


def _find(reference: str) -> Invocation | None:
    rows, uuid = Invocation.objects.filter(visible()), as_uuid(reference)
    if uuid is not None and (row := rows.filter(pk=uuid).first()):
        return row
    return rows.filter(request_id=reference).order_by("-created_at").first()


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


def statuses_of(ids: Collection[UUID]) -> dict[UUID, str]:
    """Of those that are still there. The caller sees to it that they may be seen."""
    return dict(Invocation.objects.filter(pk__in=ids).values_list("pk", "status")) if ids else {}
