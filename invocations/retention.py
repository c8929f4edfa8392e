"""How long invocations, their logs, reports, dead letters and idempotency keys are kept."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q

from invocations import idempotency
from invocations.models import DeadLetter, IdempotencyKey, Invocation, InvocationLog, Report, ReportStatus
from invocations.outcome import Status
from nimbus_project.config import Config
from nimbus_project.core.pruning import Prunable


def _ended(before: datetime) -> Q:
    """Neither waiting nor running, and not for so long: one that waited for days has its days from its end on."""
    return ~Q(status__in=[Status.PENDING, Status.RUNNING]) & Q(completed_at__lt=before)


def _log_days(config: Config) -> int:
    """A log without its invocation could be read by nobody."""
    days = [config.retention_logs_days, config.retention_invocations_days]
    return min(filter(None, days), default=0)


INVOCATIONS = Prunable(
    name="invocations",
    keep_days=lambda config: config.retention_invocations_days,
    rows=Invocation.objects.all,
    age="created_at",
    may_go=_ended,
)
LOGS = Prunable(name="logs", keep_days=_log_days, rows=InvocationLog.objects.all, age="created_at")
REPORTS = Prunable(
    name="reports",
    keep_days=lambda config: config.retention_invocations_days,
    rows=Report.objects.all,
    age="created_at",
    may_go=lambda _: ~Q(status=ReportStatus.PENDING),
)
DEAD_LETTERS = Prunable(
    name="dead_letters",
    keep_days=lambda config: config.retention_dead_letters_days,
    rows=DeadLetter.objects.all,
    age="created_at",
)
IDEMPOTENCY_KEYS = Prunable(
    name="idempotency_keys",
    keep_days=lambda config: idempotency.KEPT.days,
    rows=IdempotencyKey.objects.all,
    age="created_at",
    least_days=idempotency.KEPT.days,
)
