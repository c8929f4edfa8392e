"""The tables of runs."""

from __future__ import annotations

from invocations.models.invocations import IdempotencyKey, Invocation, InvocationLog, TriggerType

__all__ = ["IdempotencyKey", "Invocation", "InvocationLog", "TriggerType"]
