"""Choice rules (§ "Choice State"): checked by `definition.py`, held against a value here. Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from workflows import paths, timestamps
from workflows.scope import Scope
from workflows.states import ABSENT, NO_CHOICE, RUNTIME, Failure, State

Comparison = Callable[[Any, Any], bool]

_ORDERS: Final[dict[str, Comparison]] = {
    "Equals": operator.eq,
    "LessThan": operator.lt,
    "GreaterThan": operator.gt,
    "LessThanEquals": operator.le,
    "GreaterThanEquals": operator.ge,
}


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _as_string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _as_number(value: Any) -> int | float | None:
    return value if is_number(value) else None


def _as_boolean(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _as_timestamp(value: Any) -> datetime | None:
    return timestamps.parse(value) if isinstance(value, str) else None


Reading = Callable[[Any], Any]
"""A value as one of the type that is compared, or None."""

COMPARISONS: Final[Mapping[str, tuple[Reading, Comparison]]] = {
    "BooleanEquals": (_as_boolean, operator.eq),
    **{
        f"{kind}{order}": (reading, comparison)
        for kind, reading in (("String", _as_string), ("Numeric", _as_number), ("Timestamp", _as_timestamp))
        for order, comparison in _ORDERS.items()
    },
}
"""Each also with `Path` behind it: the other value is then read from the input."""

TYPE_TESTS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "IsNull": lambda value: value is None,
    "IsNumeric": is_number,
    "IsString": lambda value: isinstance(value, str),
    "IsBoolean": lambda value: isinstance(value, bool),
    "IsTimestamp": lambda value: _as_timestamp(value) is not None,
}

IS_PRESENT: Final = "IsPresent"
STRING_MATCHES: Final = "StringMatches"
PATH_COMPARISONS: Final = frozenset(f"{name}Path" for name in COMPARISONS)
OPERATORS: Final = frozenset({*COMPARISONS, *PATH_COMPARISONS, *TYPE_TESTS, IS_PRESENT, STRING_MATCHES})


def chosen(state: State, effective_input: Any, context: Mapping[str, Any]) -> str:
    """The next state's name. Raises `Failure`: NO_CHOICE, or RUNTIME where a rule's path does not lead to a value."""
    scope = Scope(effective_input, context)
    for rule in state.rules:
        if _is_true(rule.test, scope):
            return rule.next
    if state.default:
        return state.default
    raise Failure(NO_CHOICE, f"No rule of '{state.name}' fits its input, and it has no Default")


def _is_true(test: Mapping[str, Any], scope: Scope) -> bool:
    if "And" in test:
        return all(_is_true(one, scope) for one in test["And"])
    if "Or" in test:
        return any(_is_true(one, scope) for one in test["Or"])
    if "Not" in test:
        return not _is_true(test["Not"], scope)
    name = next(key for key in test if key in OPERATORS)
    path, operand = test["Variable"], test[name]
    if name == IS_PRESENT:
        return _is_present(path, scope) is operand
    value = paths.read(path, scope, error=RUNTIME)
    if name in TYPE_TESTS:
        return TYPE_TESTS[name](value) is operand
    if name == STRING_MATCHES:
        scope.work.spend(value)
        return isinstance(value, str) and is_like(value, operand)
    if name in PATH_COMPARISONS:
        operand = paths.read(operand, scope, error=RUNTIME)
    return _compared(name.removesuffix("Path"), value, operand)


def _is_present(path: str, scope: Scope) -> bool:
    value = paths.find(path, scope)
    if value == [] and not paths.is_definite(path):
        return False
    return value is not ABSENT


def _compared(name: str, value: Any, operand: Any) -> bool:
    reading, comparison = COMPARISONS[name]
    left, right = reading(value), reading(operand)
    return left is not None and right is not None and comparison(left, right)


def is_like(text: str, pattern: str) -> bool:
    """`StringMatches`: ``*`` stands for any characters, ``\\*`` and ``\\\\`` for themselves. In time linear in the
    text for each literal of the pattern: no backtracking."""
    first, *others = literals(pattern)
    if not others:
        return text == first
    *middle, last = others
    if not text.startswith(first) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for literal in middle:
        found = text.find(literal, at, end)
        if found < 0:
            return False
        at = found + len(literal)
    return text.endswith(last)


@lru_cache(maxsize=1024)
def literals(pattern: str) -> tuple[str, ...]:
    """What stands between the stars. Raises ValueError for a backslash that escapes nothing."""
    pieces = [""]
    for token in re.findall(r"\\.|\\$|[^\\*]+|\*", pattern, re.DOTALL):
        if token == "*":
            pieces.append("")
        elif not token.startswith("\\"):
            pieces[-1] += token
        elif token[1:] in ("*", "\\"):
            pieces[-1] += token[1:]
        else:
            raise ValueError("a backslash may stand before * or another backslash only")
    return tuple(pieces)
