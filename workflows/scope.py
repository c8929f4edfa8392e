"""What the paths and functions of one field are applied to, and how much they may look at. Pure.

A definition may name the same large value thousands of times: each time is cheap, all of them are a worker's hour. So
what they look at is added up, and so is what a template is filled with.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as default
from typing import Any, Final

from workflows.states import DATA_LIMIT, Failure

MAX_BYTES: Final = 6 * 1024 * 1024
"""Of what one field comes to: the most that an event may have."""
MAX_WORK_BYTES: Final = 64 * 1024 * 1024
"""Of what is looked at for one field."""
PATH_WEIGHT: Final = 8
"""Of a path that may lead to several values, for each of its comparisons: it makes a node of each value that it looks
at. So the most that a field can cost is some ten seconds."""


class Allowance:
    """So many bytes of JSON text, about."""

    def __init__(self, limit: int, what: str) -> None:
        self._limit = limit
        self._left = limit
        self._what = what

    def spend(self, value: Any, weight: int = 1) -> None:
        """Raises `Failure(DATA_LIMIT)` when it is used up; goes through no more of `value` than that takes."""
        size = _size(value, self._left // weight)
        self._left -= size * weight
        if self._left < 0:
            raise Failure(DATA_LIMIT, f"{self._what} more than {self._limit:,} bytes")


def _size(value: Any, enough: int) -> int:
    size = 0
    left = [value]
    while left and size <= enough:
        one = left.pop()
        if isinstance(one, str):
            size += len(one) + 2
        elif isinstance(one, dict):
            size += 2 + sum(len(key) + 4 for key in one)
            left.extend(one.values())
        elif isinstance(one, list):
            size += 2 + len(one)
            left.extend(one)
        else:
            size += 1
    return size


def check_size(value: Any) -> None:
    """Before it is written as text. Raises `Failure(DATA_LIMIT)`."""
    Allowance(MAX_BYTES, "A text would have").spend(value)


@dataclass(slots=True)
class Scope:
    data: Any
    context: Mapping[str, Any]
    """The specification's context object: what `$$` paths read."""
    field: str = ""
    """Which field it is, for the randomness."""
    source: random.Random | None = None
    """What `States.UUID` and `States.MathRandom` draw from. Without one they draw from the context: the same numbers
    for the same visit of a state."""
    work: Allowance = default(
        default_factory=lambda: Allowance(MAX_WORK_BYTES, "A field's paths and functions look at")
    )
    payload: Allowance = default(default_factory=lambda: Allowance(MAX_BYTES, "A template is filled with"))

    def randomness(self) -> random.Random:
        if self.source is None:
            item = self.context.get("Map", {}).get("Item", {}).get("Index")
            state = sorted(self.context.get("State", {}).items())
            execution = self.context.get("Execution", {}).get("Id")
            self.source = random.Random(repr((execution, state, item, self.field)))
        return self.source
