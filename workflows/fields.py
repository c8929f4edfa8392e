"""Reads the fields of one object of a definition, and collects what is wrong with them. Pure.

Readers give the value, or the default where the field is missing or wrong; what is wrong is a problem by then.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Set
from typing import Any

from workflows import intrinsics, paths, templates
from workflows.choices import is_number
from workflows.problems import Problems, shown
from workflows.spelling import REFUSED_FIELDS
from workflows.states import ABSENT


class Fields:
    """``what`` is for messages: "a Task state". ``path`` is where the object is."""

    def __init__(self, value: Any, path: str, allowed: Set[str], what: str, problems: Problems) -> None:
        self.path = path
        self._problems = problems
        self._values: dict[str, Any] = value if isinstance(value, dict) else {}
        self.is_object = isinstance(value, dict)
        if not self.is_object:
            problems.add(path, f"has to be an object: {what}")
        for name in self._values:
            if name not in allowed:
                self.wrong(name, REFUSED_FIELDS.get(name) or _unknown(name, allowed, what))

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> Any:
        """As it is written, or ABSENT."""
        return self._values.get(name, ABSENT)

    def wrong(self, name: str, message: str) -> None:
        self._problems.add(f"{self.path}.{name}" if name else self.path, message)

    def at_most_one(self, *names: str) -> None:
        there = [name for name in names if name in self]
        if len(there) > 1:
            self.wrong(there[1], f"may not be there together with {there[0]}")

    def exactly_one(self, *names: str) -> None:
        self.at_most_one(*names)
        if self.is_object and not any(name in self for name in names):
            self.wrong("", f"one of {', '.join(names)} has to be there")

    def need(self, name: str) -> None:
        if self.is_object and name not in self:
            self.wrong(name, "has to be there")

    def text(self, name: str, default: str = "") -> str:
        value = self.get(name)
        if value is ABSENT:
            return default
        if isinstance(value, str):
            return value
        self.wrong(name, "has to be a string")
        return default

    def name_of_state(self, name: str) -> str:
        value = self.text(name)
        if name in self and not value and isinstance(self.get(name), str):
            self.wrong(name, "has to name a state")
        return value

    def whole(self, name: str, least: int, most: int) -> int | None:
        value = self.get(name)
        if value is ABSENT:
            return None
        if is_number(value) and least <= value <= most and value == int(value):
            return int(value)
        self.wrong(name, f"has to be an integer from {least:,} to {most:,}")
        return None

    def number(self, name: str, least: float, most: float) -> float | None:
        value = self.get(name)
        if value is ABSENT:
            return None
        if is_number(value) and least <= value <= most:
            return float(value)
        self.wrong(name, f"has to be a number from {least:,} to {most:,}")
        return None

    def nullable_path(self, name: str) -> str | None:
        """InputPath, OutputPath: null is a value."""
        return None if self.get(name) is None else self.any_path(name) or "$"

    def nullable_place(self, name: str) -> str | None:
        """ResultPath: where something is put, so not in the context."""
        if self.get(name) is None:
            return None
        place = self.reference_path(name)
        if place.startswith("$$"):
            self.wrong(name, "may not begin with $$: nothing can be put into the context")
            return "$"
        return place or "$"

    def any_path(self, name: str) -> str:
        path = self.text(name)
        try:
            if name in self and isinstance(self.get(name), str):
                paths.check(path)
        except paths.PathInvalid as invalid:
            self.wrong(name, str(invalid))
            return ""
        return path

    def reference_path(self, name: str) -> str:
        path = self.any_path(name)
        try:
            if path:
                paths.check_reference(path)
        except paths.PathInvalid as invalid:
            self.wrong(name, str(invalid))
            return ""
        return path

    def path_or_intrinsic(self, name: str) -> str:
        text = self.text(name)
        if text.startswith("$"):
            return self.reference_path(name)
        try:
            if name in self and isinstance(self.get(name), str):
                intrinsics.check(text)
        except intrinsics.IntrinsicInvalid as invalid:
            self.wrong(name, str(invalid))
            return ""
        return text

    def template(self, name: str) -> Any:
        """A payload template, or ABSENT."""
        value = self.get(name)
        if value is ABSENT:
            return ABSENT
        if not isinstance(value, dict):
            self.wrong(name, "has to be an object")
            return ABSENT
        templates.check(value, f"{self.path}.{name}", self._problems)
        return value

    def elements(self, name: str, *, least: int = 0) -> Iterator[tuple[Any, str]]:
        """Each of an array with its path."""
        value = self.get(name)
        if not isinstance(value, list):
            if value is not ABSENT:
                self.wrong(name, "has to be an array")
            return
        if len(value) < least:
            self.wrong(name, "may not be empty")
        for index, one in enumerate(value):
            yield one, f"{self.path}.{name}[{index}]"


def _unknown(name: str, allowed: Set[str], what: str) -> str:
    near = difflib.get_close_matches(name[:80], allowed, n=1)
    return f"is no field of {what}" + (f": is {shown(near[0])} meant?" if near else "")
