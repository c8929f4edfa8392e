"""Event patterns as Amazon EventBridge has them: compiled and checked once, then held against events. Pure.

A pattern mirrors the event: objects lead to leaves, and a leaf is an array of what its value may be::

    {"type": ["order.paid"], "data": {"amount": [{"numeric": [">", 100]}], "$or": [{"vip": [true]}, {"eu": [true]}]}}

All fields must fit; of a leaf any alternative; of an event's array any element (arrays in arrays are flattened). Where
an array holds objects, *one* of them must fit the whole sub-pattern. Operators work on strings, numbers, booleans and
null; objects are no values. Numbers are equal by value (1 is 1.0), unlike in EventBridge, which compares their text.

Work is bounded: patterns by their size, holding one against an event by `MAX_STEPS`, whatever either of them is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from triggers.pattern_tests import Alternatives, PatternError, Test, leaf_of

__all__ = ["Mismatch", "Pattern", "PatternError", "TooCostly", "compile_pattern"]

MAX_BYTES = 16 * 1024
"""Of a pattern as JSON text."""
MAX_DEPTH = 24
MAX_STEPS = 1_000_000
"""Values looked at and operators tried for one event, long strings counting for several: about a second's work."""
SHOWN_VALUES = 5


class TooCostly(Exception):
    """The event has so many values that this pattern was given up on."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a pattern does not fit: at this path none of what was wanted is there."""

    path: str
    wanted: Any
    found: list[Any]


@dataclass(frozen=True, slots=True)
class _Fields:
    path: str
    leaves: tuple[tuple[str, str, Alternatives], ...]
    """``(name, path, alternatives)``"""
    objects: tuple[tuple[str, _Fields], ...]
    choices: tuple[tuple[Any, tuple[_Fields, ...]], ...]
    """Of each ``$or``: as it was written, and its alternatives."""


@dataclass(slots=True)
class _Budget:
    left: int = field(default=MAX_STEPS)

    def spend(self, steps: int) -> None:
        self.left -= steps
        if self.left < 0:
            raise TooCostly


@dataclass(frozen=True, slots=True)
class Pattern:
    """A checked pattern."""

    _root: _Fields

    def matches(self, document: dict[str, Any]) -> bool:
        """Raises TooCostly."""
        return _fits(self._root, [document], _Budget())

    def explain(self, document: dict[str, Any]) -> list[Mismatch]:
        """What does not fit, empty when all does. Raises TooCostly."""
        return _mismatches(self._root, [document], _Budget())


def compile_pattern(value: Any) -> Pattern:
    """Raises PatternError, which names the path."""
    try:
        size = len(orjson.dumps(value))
    except TypeError as error:
        raise PatternError("", f"Must be JSON, at most {MAX_DEPTH} levels deep.") from error
    if size > MAX_BYTES:
        raise PatternError("", f"Is {size} bytes long; at most {MAX_BYTES} are allowed.")
    return Pattern(_fields(value, "", 1))


def _fields(value: Any, path: str, depth: int) -> _Fields:
    if not isinstance(value, dict):
        raise PatternError(path, "Must be an object of fields, or an array of the values that fit.")
    if not value:
        raise PatternError(path, "Must name at least one field.")
    if depth > MAX_DEPTH:
        raise PatternError(path, f"Is nested deeper than {MAX_DEPTH} levels.")
    leaves, objects, choices = [], [], []
    for name, inner in value.items():
        at = f"{path}.{name}" if path else name
        if name == "$or":
            choices.append((inner, _alternatives(inner, path, at, depth)))
        elif isinstance(inner, list):
            leaves.append((name, at, leaf_of(inner, at)))
        else:
            objects.append((name, _fields(inner, at, depth + 1)))
    return _Fields(path, tuple(leaves), tuple(objects), tuple(choices))


def _alternatives(value: Any, path: str, at: str, depth: int) -> tuple[_Fields, ...]:
    if not isinstance(value, list) or len(value) < 2:
        raise PatternError(at, "Must be an array of at least two patterns.")
    found = []
    for number, one in enumerate(value):
        try:
            # Its fields are those of the object that the $or stands in.
            found.append(_fields(one, path, depth + 1))
        except PatternError as error:
            inside = error.path.removeprefix(path).lstrip(".")
            raise PatternError(f"{at}[{number}]" + (f".{inside}" if inside else ""), error.problem) from None
    return tuple(found)


_NOTHING: dict[str, Any] = {}
_END = object()


def _fits(fields: _Fields, values: Sequence[Any], budget: _Budget) -> bool:
    """Whether one of the objects among these values fits all fields. Without any, an empty one is tried: what must not
    exist does not."""
    objects = [value for value in _flat(values, budget) if isinstance(value, dict)]
    return any(_object_fits(fields, value, budget) for value in objects or [_NOTHING])


def _object_fits(fields: _Fields, value: Mapping[str, Any], budget: _Budget) -> bool:
    budget.spend(1)
    return (
        all(_leaf_fits(wanted, value, name, budget) for name, _, wanted in fields.leaves)
        and all(_fits(inner, _at(value, name), budget) for name, inner in fields.objects)
        and all(any(_object_fits(one, value, budget) for one in choice) for _, choice in fields.choices)
    )


def _leaf_fits(wanted: Alternatives, value: Mapping[str, Any], name: str, budget: _Budget) -> bool:
    found = False
    for one in _flat(_at(value, name), budget):
        if isinstance(one, dict):
            continue
        found = True
        if wanted.present or (type(one), one) in wanted.exact or _tests_fit(wanted.tests, one, budget):
            return True
    return wanted.absent and not found


def _tests_fit(tests: Sequence[Test], value: Any, budget: _Budget) -> bool:
    cost = 1 + len(value) // 256 if isinstance(value, str) else 1
    for test in tests:
        budget.spend(cost * test.cost)
        if test.fits(value):
            return True
    return False


def _at(value: Mapping[str, Any], name: str) -> list[Any]:
    return [value[name]] if name in value else []


def _flat(values: Sequence[Any], budget: _Budget) -> Iterator[Any]:
    """The values with arrays, also those in arrays, replaced by their elements."""
    open_arrays = [iter(values)]
    while open_arrays:
        budget.spend(1)
        value = next(open_arrays[-1], _END)
        if value is _END:
            open_arrays.pop()
        elif isinstance(value, list):
            open_arrays.append(iter(value))
        else:
            yield value


def _mismatches(fields: _Fields, values: Sequence[Any], budget: _Budget) -> list[Mismatch]:
    """Of the object that comes nearest."""
    nearest: list[Mismatch] | None = None
    for value in [one for one in _flat(values, budget) if isinstance(one, dict)] or [_NOTHING]:
        wrong = _object_mismatches(fields, value, budget)
        if nearest is None or len(wrong) < len(nearest):
            nearest = wrong
        if not nearest:
            break
    return nearest or []


def _object_mismatches(fields: _Fields, value: Mapping[str, Any], budget: _Budget) -> list[Mismatch]:
    wrong = [
        Mismatch(path, wanted.written, _shown(_at(value, name), budget))
        for name, path, wanted in fields.leaves
        if not _leaf_fits(wanted, value, name, budget)
    ]
    for name, inner in fields.objects:
        wrong += _mismatches(inner, _at(value, name), budget)
    for written, choice in fields.choices:
        if not any(_object_fits(one, value, budget) for one in choice):
            wrong.append(Mismatch(f"{fields.path}.$or".lstrip("."), written, []))
    return wrong


def _shown(values: Sequence[Any], budget: _Budget) -> list[Any]:
    found: list[Any] = []
    for value in _flat(values, budget):
        if not isinstance(value, dict):
            found.append(value[:200] if isinstance(value, str) else value)
        if len(found) == SHOWN_VALUES:
            break
    return found
