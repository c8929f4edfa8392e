"""What is wrong with a definition: all of it at once, each with where it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_PROBLEMS: Final = 50
_MAX_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class Problem:
    path: str
    """As ``States.Pay.Retry[0].ErrorEquals``; empty: the whole definition."""
    message: str


class DefinitionInvalid(Exception):
    """The definition can't be used; `problems` says why, `MAX_PROBLEMS` at most."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        first = problems[0]
        super().__init__(f"{first.path}: {first.message}" if first.path else first.message)
        self.problems = problems


class Problems:
    """Collects them."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def add(self, path: str, message: str) -> None:
        """Raises `DefinitionInvalid` when there are enough: nothing more is looked at then."""
        self._found[Problem(_printable(path.lstrip(".")), _printable(message))] = None
        if len(self._found) >= MAX_PROBLEMS:
            self.raise_any()

    def raise_any(self) -> None:
        if self._found:
            raise DefinitionInvalid(tuple(self._found))


def _printable(text: str) -> str:
    """A definition's own words are in it: cut, and without what no answer can be written with."""
    cut = text if len(text) <= _MAX_CHARS else text[:_MAX_CHARS] + "…"
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in cut)


def shown(text: str) -> str:
    """For messages: quoted and short."""
    return f"'{text}'" if len(text) <= 80 else f"'{text[:80]}…'"
