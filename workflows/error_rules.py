"""Reads Retry and Catch of a state. Pure."""

from __future__ import annotations

from typing import Any, Final

from workflows.fields import Fields
from workflows.problems import Problems
from workflows.spelling import CATCHER_FIELDS, RETRIER_FIELDS
from workflows.states import ALL, Catcher, Retrier

MAX_INTERVAL_SEC: Final = 99_999_999
MAX_ATTEMPTS: Final = 99_999_999
MAX_RETRY_DELAY_SEC: Final = 31_622_400
"""As in AWS; a year. In fact nothing is retried later than after a day."""
MAX_BACKOFF_RATE: Final = 1e9


def retriers(state: Fields, problems: Problems) -> tuple[Retrier, ...]:
    values = list(state.elements("Retry"))
    return tuple(
        _retrier(one, path, index == len(values), problems) for index, (one, path) in enumerate(values, start=1)
    )


def catchers(state: Fields, problems: Problems) -> tuple[Catcher, ...]:
    values = list(state.elements("Catch"))
    return tuple(
        _catcher(one, path, index == len(values), problems) for index, (one, path) in enumerate(values, start=1)
    )


def _retrier(value: Any, path: str, is_last: bool, problems: Problems) -> Retrier:
    fields = Fields(value, path, RETRIER_FIELDS, "a retrier", problems)
    interval = fields.whole("IntervalSeconds", 1, MAX_INTERVAL_SEC)
    attempts = fields.whole("MaxAttempts", 0, MAX_ATTEMPTS)
    rate = fields.number("BackoffRate", 1.0, MAX_BACKOFF_RATE)
    max_delay = fields.whole("MaxDelaySeconds", 1, MAX_RETRY_DELAY_SEC)
    jitter = fields.text("JitterStrategy", "NONE")
    if jitter not in ("FULL", "NONE"):
        fields.wrong("JitterStrategy", "has to be FULL or NONE")
    fields.text("Comment")
    return Retrier(
        error_equals=_error_names(fields, is_last),
        interval_sec=float(interval or 1),
        max_attempts=3 if attempts is None else attempts,
        backoff_rate=rate or 2.0,
        max_delay_sec=None if max_delay is None else float(max_delay),
        has_full_jitter=jitter == "FULL",
    )


def _catcher(value: Any, path: str, is_last: bool, problems: Problems) -> Catcher:
    fields = Fields(value, path, CATCHER_FIELDS, "a catcher", problems)
    fields.need("Next")
    fields.text("Comment")
    return Catcher(
        error_equals=_error_names(fields, is_last),
        next=fields.name_of_state("Next"),
        result_path=fields.nullable_place("ResultPath"),
    )


def _error_names(fields: Fields, is_last: bool) -> tuple[str, ...]:
    fields.need("ErrorEquals")
    names = [one for one, _ in fields.elements("ErrorEquals", least=1)]
    if not all(isinstance(name, str) and name for name in names):
        fields.wrong("ErrorEquals", "has to be an array of errors' names")
        return ()
    if ALL in names and len(names) > 1:
        fields.wrong("ErrorEquals", f"{ALL} has to stand alone")
    if ALL in names and not is_last:
        fields.wrong("ErrorEquals", f"{ALL} has to be in the last rule: those behind it would never be reached")
    return tuple(names)
