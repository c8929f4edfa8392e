"""The cron expression of a function: kept here, checked and followed by whoever schedules.

Functions lie below triggers and can't import them; the app above registers its checks when it starts, and finds by
itself what has changed.
"""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import ValidationError

Problem = Callable[[str], str]
"""From a text to a sentence about what is wrong with it; empty when nothing is."""

_expression: Problem | None = None
_timezone: Problem | None = None


def register(expression: Problem, timezone: Problem) -> None:
    global _expression, _timezone
    _expression, _timezone = expression, timezone


def check_expression(text: str) -> None:
    """A validator. The empty text, which schedules nothing, is fine. Raises ValidationError."""
    if text and _expression is not None and (problem := _expression(text)):
        raise ValidationError(problem, code="cron")


def check_timezone(text: str) -> None:
    """As `check_expression`."""
    if _timezone is not None and (problem := _timezone(text)):
        raise ValidationError(problem, code="timezone")
