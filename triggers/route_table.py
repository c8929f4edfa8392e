"""The compiled table of custom routes: which one a path and a method call. Pure.

The most specific wins, segment by segment from the left: literal text before a parameter, a parameter before the rest.
Among the patterns that match a path, the first in that order that has the method.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from functions.route_patterns import Kind, Pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The custom route of one function."""

    function_id: str
    pattern: Pattern
    methods: tuple[str, ...]
    needs_key: bool = False
    cors: Mapping[str, Any] = field(default_factory=dict)
    may_be_called: bool = True
    """Its owner may call functions today. One that may not keeps its address all the same: no other function is to get
    what was meant for it."""


@dataclass(frozen=True, slots=True)
class Match:
    """What a path and a method found."""

    route: Route
    parameters: Mapping[str, str]


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    rest: list[Route] = field(default_factory=list)
    """Routes that take all from here on."""
    ends: list[Route] = field(default_factory=list)
    """Routes that end here."""


class RouteTable:
    """Immutable once made."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._root = _Node()
        self.is_empty = True
        for route in routes:
            self._add(route)
            self.is_empty = False

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in route.pattern.segments:
            match segment.kind:
                case Kind.LITERAL:
                    node = node.literals.setdefault(segment.text, _Node())
                case Kind.PARAMETER:
                    node.parameter = node.parameter or _Node()
                    node = node.parameter
                case Kind.REST:
                    node.rest.append(route)
                    return
        node.ends.append(route)

    def matches(self, path: str) -> list[Route]:
        """All routes of this path, most specific first, whatever their methods."""
        parts = path.split("/")[1:]
        return [] if self.is_empty or "" in parts else list(_below(self._root, parts, 0))


def choose(routes: Iterable[Route], method: str, path: str) -> Match | None:
    """The first that has the method; one that has GET has HEAD."""
    for route in routes:
        if method in route.methods or (method == "HEAD" and "GET" in route.methods):
            return Match(route, _parameters(route.pattern, path))
    return None


def allowed(routes: Iterable[Route]) -> tuple[str, ...]:
    """Every method that the path can be called with."""
    methods = {method for route in routes for method in route.methods} | {"OPTIONS"}
    return tuple(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def _below(node: _Node, parts: list[str], at: int) -> Iterator[Route]:
    # Each node of the tree is looked at once at most: what a path can cost is bounded by how many routes there are.
    if at == len(parts):
        yield from node.ends
        return
    if (literal := node.literals.get(parts[at])) is not None:
        yield from _below(literal, parts, at + 1)
    if node.parameter is not None:
        yield from _below(node.parameter, parts, at + 1)
    yield from node.rest


def _parameters(pattern: Pattern, path: str) -> dict[str, str]:
    parts = path.split("/")[1:]
    found: dict[str, str] = {}
    for index, segment in enumerate(pattern.segments):
        if segment.kind is Kind.PARAMETER:
            found[segment.text] = parts[index]
        elif segment.kind is Kind.REST:
            found[segment.text] = "/".join(parts[index:])
    return found
