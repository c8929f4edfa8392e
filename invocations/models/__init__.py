"""The tables of runs."""

from __future__ import annotations

from invocations.models.dead_letters import DeadLetter, DeadLetterStatus
from invocations.models.invocations import IdempotencyKey, Invocation, InvocationLog, TriggerType
from invocations.models.reports import Report, ReportStatus

__all__ = [
    "DeadLetter",
    "DeadLetterStatus",
    "IdempotencyKey",
    "Invocation",
    "InvocationLog",
    "Report",
    "ReportStatus",
    "TriggerType",
]
