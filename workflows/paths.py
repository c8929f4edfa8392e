"""Paths (§ "Paths", "Reference Paths"): checked when a definition is read, compiled once, applied to values. Pure.

`python-jsonpath` reads what is more than a Reference Path, in its strict mode (RFC 9535). Work is linear in the value,
whatever a tenant writes: no function (its `match` and `search` take a regular expression), one `..`, unions of
different names or positions, and filters that compare single values. So no value is ever visited twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

import jsonpath
from jsonpath.filter import BaseExpression, FilterQuery
from jsonpath.match import JSONPathMatch
from jsonpath.segments import JSONPathRecursiveDescentSegment
from jsonpath.selectors import Filter, IndexSelector, JSONPathSelector, NameSelector

from workflows.scope import PATH_WEIGHT, Scope
from workflows.states import ABSENT, PARAMETER_PATH, RESULT_PATH_MATCH, Failure

MAX_CHARS: Final = 1000
MAX_FILTERS: Final = 4

Part = str | int

_PLAIN: Final = r"[^\s\\.\[\]@,:?*()'\"$]"
_PART: Final = re.compile(
    rf"\.(?P<name>(?:\\u[0-9A-Fa-f]{{4}}|\\[^u]|{_PLAIN})+)"
    r"|\[(?P<index>0|[1-9][0-9]{0,14})\]"
    r"|\['(?P<single>(?:\\u[0-9A-Fa-f]{4}|\\[^u]|[^'\\])*)'\]"
    r'|\["(?P<double>(?:\\u[0-9A-Fa-f]{4}|\\[^u]|[^"\\])*)"\]',
    re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\u([0-9A-Fa-f]{4})|\\(.)", re.DOTALL)


class PathInvalid(ValueError):
    """Not a path, or not one that is allowed; says why."""


class _Node(JSONPathMatch):
    """Without the path to it and without its children: with long names they would outgrow the value many times."""

    __slots__ = ()

    def new_child(self, obj: object, key: int | str) -> JSONPathMatch:
        return _Node(filter_context={}, obj=obj, parent=None, path="", parts=(), root=self.root)

    def add_child(self, *children: JSONPathMatch) -> None:
        return


class _Environment(jsonpath.JSONPathEnvironment):
    def setup_function_extensions(self) -> None:
        self.function_extensions = {}

    def getitem(self, obj: Any, key: Any) -> Any:
        """A string is no array: its slices are none."""
        return [] if isinstance(obj, str) else super().getitem(obj, key)


_ENVIRONMENT: Final = _Environment(strict=True)


def check(path: str) -> None:
    """Raises `PathInvalid` unless it is a Path."""
    if reference_parts(path) is None:
        _compiled(_of_one_dollar(path))


def check_reference(path: str) -> tuple[Part, ...]:
    """Its parts. Raises `PathInvalid` unless it is a Reference Path."""
    parts = reference_parts(path)
    if parts is None:
        raise PathInvalid(
            f"{_shown(path)} has to be a Reference Path: names and positions only, as in $.order.items[0]"
        )
    return parts


@lru_cache(maxsize=4096)
def reference_parts(path: str) -> tuple[Part, ...] | None:
    """Names and positions from `$` (or `$$`) on, or None where it is no Reference Path."""
    if len(path) > MAX_CHARS:
        raise PathInvalid(f"a path has at most {MAX_CHARS:,} characters")
    text = _of_one_dollar(path)
    parts: list[Part] = []
    at = 1
    while at < len(text):
        found = _PART.match(text, at)
        if found is None:
            return None
        parts.append(_part(found))
        at = found.end()
    return tuple(parts)


def read(path: str, scope: Scope, *, error: str = PARAMETER_PATH) -> Any:
    """The value at a path of either kind; that of `$$` is read from the context. Raises `Failure(error)` where the
    value has nothing there."""
    found = find(path, scope)
    if found is ABSENT:
        raise Failure(error, f"The path {_shown(path)} does not lead to a value")
    return found


def find(path: str, scope: Scope) -> Any:
    """As `read`, or ABSENT. A path that may lead to several values gives the list of those it leads to, even of none
    or one, as in AWS."""
    source = scope.context if path.startswith("$$") else scope.data
    parts = reference_parts(path)
    if parts is not None:
        return _walked(source, parts)
    compiled = _compiled(_of_one_dollar(path))
    if compiled.singular_query():
        values = _values(compiled, source)
        return values[0] if values else ABSENT
    scope.work.spend(source, PATH_WEIGHT * max(1, _comparisons(compiled)))
    return _values(compiled, source)


def is_definite(path: str) -> bool:
    """It leads to one value or none."""
    return reference_parts(path) is not None or _compiled(_of_one_dollar(path)).singular_query()


def put(path: str, data: Any, value: Any) -> Any:
    """§ "ResultPath": `data` with `value` at a Reference Path; objects on the way there are made, elements of an array
    have to be there. `data` itself stays as it is."""
    return _with(data, check_reference(path), value, path)


def _with(data: Any, parts: tuple[Part, ...], value: Any, path: str) -> Any:
    if not parts:
        return value
    first, rest = parts[0], parts[1:]
    if isinstance(first, str) and isinstance(data, dict):
        return {**data, first: _with(data.get(first, {} if rest else None), rest, value, path)}
    if isinstance(first, int) and isinstance(data, list) and first < len(data):
        return [*data[:first], _with(data[first], rest, value, path), *data[first + 1 :]]
    wanted = "object" if isinstance(first, str) else f"array of more than {first:,} elements"
    raise Failure(RESULT_PATH_MATCH, f"ResultPath {_shown(path)} does not fit the state's input: there is no {wanted}")


def _walked(value: Any, parts: tuple[Part, ...]) -> Any:
    for part in parts:
        if isinstance(part, str):
            if not isinstance(value, Mapping) or part not in value:
                return ABSENT
        elif not isinstance(value, list) or part >= len(value):
            return ABSENT
        value = value[part]
    return value


def _values(compiled: jsonpath.JSONPath, source: Any) -> list[Any]:
    root = _Node(filter_context={}, obj=source, parent=None, path="", parts=(), root=source)
    nodes: Iterable[JSONPathMatch] = [root]
    for segment in compiled.segments:
        nodes = segment.resolve(nodes)
    try:
        return [node.obj for node in nodes]
    except (jsonpath.JSONPathError, RecursionError) as failed:
        raise Failure(PARAMETER_PATH, f"A path could not be applied: {failed}") from None


@lru_cache(maxsize=1024)
def _compiled(text: str) -> jsonpath.JSONPath:
    try:
        compiled = _ENVIRONMENT.compile(text)
    except (jsonpath.JSONPathError, ValueError, RecursionError) as failed:
        raise PathInvalid(f"{_shown(text)} is not a path: {str(failed)[:200]}") from None
    if not isinstance(compiled, jsonpath.JSONPath):
        raise PathInvalid(f"{_shown(text)} is not one path")
    _check_cost(compiled)
    return compiled


def _check_cost(compiled: jsonpath.JSONPath) -> None:
    if sum(isinstance(segment, JSONPathRecursiveDescentSegment) for segment in compiled.segments) > 1:
        raise PathInvalid("'..' may be in a path once")
    filters = 0
    for segment in compiled.segments:
        if len(segment.selectors) > 1:
            _check_union(segment.selectors)
        for selector in segment.selectors:
            if isinstance(selector, Filter):
                filters += 1
                _check_filter(selector.expression)
    if filters > MAX_FILTERS:
        raise PathInvalid(f"a path may have {MAX_FILTERS} filters")


def _comparisons(compiled: jsonpath.JSONPath) -> int:
    """What each value that is looked at is compared with, in all of the path's filters."""
    selectors = (selector for segment in compiled.segments for selector in segment.selectors)
    return sum(_queries(one.expression) for one in selectors if isinstance(one, Filter))


def _queries(expression: BaseExpression) -> int:
    return isinstance(expression, FilterQuery) + sum(_queries(child) for child in expression.children())


def _check_union(selectors: Iterable[JSONPathSelector]) -> None:
    seen: set[Part] = set()
    for one in selectors:
        if isinstance(one, NameSelector):
            key: Part = one.name
        elif isinstance(one, IndexSelector) and one.index >= 0:
            key = one.index
        else:
            raise PathInvalid("a union is of names, or of positions from 0 on, as in $.items[0,2]")
        if key in seen:
            raise PathInvalid(f"a union names {key!r} twice")
        seen.add(key)


def _check_filter(expression: BaseExpression) -> None:
    if isinstance(expression, FilterQuery) and not expression.path.singular_query():
        raise PathInvalid("a filter compares single values, as in ?(@.price < 10)")
    for child in expression.children():
        _check_filter(child)


def _of_one_dollar(path: str) -> str:
    text = path[1:] if path.startswith("$$") else path
    if len(path) > MAX_CHARS:
        raise PathInvalid(f"a path has at most {MAX_CHARS:,} characters")
    if not text.startswith("$"):
        raise PathInvalid(f"{_shown(path)} is not a path: a path begins with $")
    return text


def _part(found: re.Match[str]) -> Part:
    if found["index"] is not None:
        return int(found["index"])
    name = next(one for one in (found["name"], found["single"], found["double"]) if one is not None)
    if "\\" not in name:
        return name
    name = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else escape[2], name)
    try:
        return name.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise PathInvalid("a path holds half of a surrogate pair") from None


def _shown(path: str) -> str:
    return f"'{path[:80]}…'" if len(path) > 80 else f"'{path}'"
