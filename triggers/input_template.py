"""What a target is called with instead of the whole event: JSON with places to fill in. Pure.

    {"order": "<$.data.id>", "total": "<$.data.amount>", "note": "Order <$.data.id> from <$.source>"}

A string that is one place and nothing else becomes the value found there, whatever its type; null when there is none.
In a longer string the value is put in as text (strings as they are, everything else as JSON, nothing for what is not
there). ``<$>`` is the whole event. Paths are JSONPath's singular queries (RFC 9535 §2.3.5.1): ``$.a.b``, ``$['a b']``,
``$.items[0]``, ``[-1]`` for the last. ``\\<$`` is no place but the text ``<$``. Keys are not filled in.

It is EventBridge's input transformer without the detour by named variables, and with values that stay values: text of
an event can't break out of the string that it is put into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

MAX_BYTES = 16 * 1024
"""Of a template as JSON text."""
MAX_PLACES = 100
MAX_DEPTH = 50
_PLACE = re.compile(r"(?<!\\)<\$([^<>]*)>")
_ESCAPED = re.compile(r"\\(<\$)")
_STEP = re.compile(
    r"""\.([A-Za-z_\u0080-\U0010ffff][A-Za-z0-9_\u0080-\U0010ffff]*)"""
    r"""|\[\s*(?:'((?:[^'\\]|\\['\\])*)'|"((?:[^"\\]|\\["\\])*)"|(0|-?[1-9][0-9]{0,8}))\s*\]"""
)

Path = tuple[str | int, ...]
_MISSING = object()


class TemplateError(ValueError):
    """Not a template; `path` says where."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


class TooLarge(Exception):
    """What it makes of this event is larger than an event may be."""


@dataclass(frozen=True, slots=True)
class Text:
    """A string with places in it: texts and paths in turn."""

    parts: tuple[str | Path, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A checked template."""

    _root: Any
    """JSON, with `Path`s for whole values and `Text`s for strings that have places."""

    def render(self, document: dict[str, Any], max_bytes: int) -> bytes:
        """JSON text. Raises TooLarge."""
        return orjson.dumps(_filled(self._root, _Filling(document, max_bytes)))


def compile_template(value: Any) -> Template:
    """Raises TemplateError, which names the path."""
    try:
        size = len(orjson.dumps(value))
    except TypeError as error:
        raise TemplateError("", f"Must be JSON, at most {MAX_DEPTH} levels deep.") from error
    if size > MAX_BYTES:
        raise TemplateError("", f"Is {size} bytes long; at most {MAX_BYTES} are allowed.")
    root = _compiled(value, "", 0)
    if sum(1 for _ in _places(root)) > MAX_PLACES:
        raise TemplateError("", f"Has more than {MAX_PLACES} places to fill in.")
    return Template(root)


def _compiled(value: Any, at: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise TemplateError(at, f"Is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, dict):
        return {name: _compiled(one, f"{at}.{name}" if at else name, depth + 1) for name, one in value.items()}
    if isinstance(value, list):
        return [_compiled(one, f"{at}[{number}]", depth + 1) for number, one in enumerate(value)]
    return _string(value, at) if isinstance(value, str) else value


def _string(text: str, at: str) -> Any:
    parts: list[str | Path] = []
    for number, part in enumerate(_PLACE.split(text)):
        if number % 2:
            parts.append(parse_path(f"${part}", at))
        elif part:
            parts.append(_ESCAPED.sub(r"\1", part))
    if len(parts) == 1:
        return parts[0]
    return Text(tuple(parts)) if parts else ""


def parse_path(text: str, at: str = "") -> Path:
    """The keys and indexes of ``$.a['b'][0]``. Raises TemplateError."""
    steps: list[str | int] = []
    position = 1
    while position < len(text):
        found = _STEP.match(text, position)
        if found is None:
            raise TemplateError(at, f"{text[:60]!r} is no path: write $.data.name, $['a name'] or $.items[0].")
        name, single, double, index = found.groups()
        if index is not None:
            steps.append(int(index))
        elif name is not None:
            steps.append(name)
        else:
            steps.append(re.sub(r"\\(.)", r"\1", single if single is not None else double))
        position = found.end()
    return tuple(steps)


def _places(node: Any) -> Iterator[Path]:
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, tuple):
        yield node
    elif isinstance(node, Text):
        yield from (part for part in node.parts if isinstance(part, tuple))
    elif isinstance(node, list):
        for inner in node:
            yield from _places(inner)


@dataclass(slots=True)
class _Filling:
    """The values found, and how much may still be put in: a hundred places may all name the largest value there is."""

    document: dict[str, Any]
    left: int
    _found: dict[Path, bytes | None] = field(default_factory=dict)

    def json(self, path: Path) -> bytes | None:
        """The value as JSON text, None when there is none. Raises TooLarge."""
        if path not in self._found:
            value = _look_up(self.document, path)
            self._found[path] = None if value is _MISSING else orjson.dumps(value)
        found = self._found[path]
        self.left -= len(found or b"null")
        if self.left < 0:
            raise TooLarge
        return found

    def text(self, path: Path) -> str:
        found = self.json(path)
        if found is None:
            return ""
        value: str = orjson.loads(found) if found.startswith(b'"') else found.decode()
        return value


def _filled(node: Any, filling: _Filling) -> Any:
    if isinstance(node, dict):
        return {name: _filled(inner, filling) for name, inner in node.items()}
    if isinstance(node, list):
        return [_filled(inner, filling) for inner in node]
    if isinstance(node, tuple):
        found = filling.json(node)
        return None if found is None else orjson.Fragment(found)
    if isinstance(node, Text):
        return "".join(part if isinstance(part, str) else filling.text(part) for part in node.parts)
    return node


def _look_up(value: Any, path: Path) -> Any:
    for step in path:
        if isinstance(step, str):
            if not isinstance(value, dict) or step not in value:
                return _MISSING
            value = value[step]
        elif isinstance(value, list) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return _MISSING
    return value
