"""What alerts measure: counts over a window, each by an index and of a bounded number of rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db.models import Count, Q, QuerySet

from accounts.principal import Principal
from functions.models import Function
from functions.rollout_policy import stats_of
from invocations import backlog
from invocations.models import DeadLetter, Invocation
from invocations.outcome import Fault, StartKind, Status
from triggers.alert_policy import Kind, Measured
from triggers.models import AlertRule

MAX_RUNS = 10_000
"""The newest of the window that are looked at: bounds what a look costs at full load."""
MAX_WAITING = 10_000
"""Functions with queued work that are looked at."""


def measure(rule: AlertRule, who: Principal, now: datetime) -> Measured:
    """As far as `who`, the rule's owner, sees it. A function that is gone, or not the owner's to see any more, has
    nothing to measure. Runs count in the window in which they were accepted."""
    scope = _scope(rule, who)
    if scope is None:
        return Measured()
    return _MEASURES[Kind(rule.kind)](rule, scope, now)


def _scope(rule: AlertRule, who: Principal) -> Q | None:
    """Of rows of history (`function_id`, `owner_id`)."""
    if not who.role:
        return None
    if rule.function_id is None:
        return Q() if who.is_admin else Q(owner_id=who.user_id)
    function = Function.objects.filter(pk=rule.function_id).values_list("owner_id", "shared").first()
    if function is None or not who.may_see(*function):
        return None
    return Q(function_id=rule.function_id)


def _runs(rule: AlertRule, scope: Q, now: datetime) -> QuerySet[Invocation]:
    """Ended, well or badly; not those that their caller ended or that could not be run for what they asked."""
    since = now - timedelta(seconds=rule.window_sec)
    rows = Invocation.objects.filter(scope, created_at__gte=since, created_at__lte=now)
    rows = rows.filter(status__in=[Status.SUCCESS, Status.FAILED, Status.TIMEOUT]).exclude(fault=Fault.CALLER)
    return rows.order_by("-created_at")


def _error_rate(rule: AlertRule, scope: Q, now: datetime) -> Measured:
    return _rate(_runs(rule, scope, now), ~Q(status=Status.SUCCESS))


def _cold_start_rate(rule: AlertRule, scope: Q, now: datetime) -> Measured:
    return _rate(_runs(rule, scope, now).exclude(start_kind=""), Q(start_kind=StartKind.COLD))


def _rate(rows: QuerySet[Invocation], bad: Q) -> Measured:
    found: dict[str, int] = rows[:MAX_RUNS].aggregate(all=Count("pk"), bad=Count("pk", filter=bad))
    return Measured(found["bad"] / found["all"], found["all"]) if found["all"] else Measured()


def _p95_ms(rule: AlertRule, scope: Q, now: datetime) -> Measured:
    rows = _runs(rule, scope, now).exclude(duration_ms=None).values_list("duration_ms", flat=True)[:MAX_RUNS]
    stats = stats_of([(True, duration or 0.0) for duration in rows])
    return Measured(stats.p95_ms, stats.runs)


def _dead_letters(rule: AlertRule, scope: Q, now: datetime) -> Measured:
    since = now - timedelta(seconds=rule.window_sec)
    count = DeadLetter.objects.filter(scope, created_at__gte=since, created_at__lte=now)[:MAX_RUNS].count()
    return Measured(float(count), count)


def _queue_age_sec(rule: AlertRule, scope: Q, now: datetime) -> Measured:
    """By the index over what waits, function by function: as quick with a hundred thousand rows as with one."""
    waiting = backlog.waiting(Invocation, backlog.FIRST, MAX_WAITING)
    if rule.function_id is not None:
        waiting = [one for one in waiting if one[0] == rule.function_id]
    elif scope:
        own = set(Function.objects.filter(scope).values_list("pk", flat=True))
        waiting = [one for one in waiting if one[0] in own]
    due = [at for _, at in waiting if at <= now]
    return Measured((now - min(due)).total_seconds() if due else 0.0, len(due))


_MEASURES: dict[Kind, Callable[[AlertRule, Q, datetime], Measured]] = {
    Kind.ERROR_RATE: _error_rate,
    Kind.P95_MS: _p95_ms,
    Kind.COLD_START_RATE: _cold_start_rate,
    Kind.DEAD_LETTERS: _dead_letters,
    Kind.QUEUE_AGE_SEC: _queue_age_sec,
}
