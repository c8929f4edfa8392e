"""Intrinsic functions (§ "Intrinsic Functions"): what is written is read once, then called with values. Pure: the
source of randomness is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from workflows import paths
from workflows.intrinsic_functions import FUNCTIONS, Arity, formatted
from workflows.scope import Scope
from workflows.states import INTRINSIC, Failure

MAX_CHARS: Final = 10_000
MAX_DEPTH: Final = 10

_NAME: Final = re.compile(r"[A-Za-z0-9_.]+(?=\()")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,15})?(?:[eE][+-]?[0-9]{1,2})?(?=[\s,)])")
_WORD: Final = re.compile(r"(?:true|false|null)(?=[\s,)])")
_STRING: Final = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_SPACE: Final = re.compile(r"\s*")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_WORDS: Final[Mapping[str, Any]] = {"true": True, "false": False, "null": None}


class IntrinsicInvalid(ValueError):
    """Not a call of an intrinsic function; says why."""


@dataclass(frozen=True, slots=True)
class _Literal:
    value: Any
    template: str = ""
    """Of a string: as it is written, for `States.Format`."""


@dataclass(frozen=True, slots=True)
class _Path:
    path: str


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    arguments: tuple[_Argument, ...]


_Argument = _Literal | _Path | _Call


def check(text: str) -> None:
    """Raises `IntrinsicInvalid` unless it is a call that can be made."""
    _read(text)


def evaluate(text: str, scope: Scope) -> Any:
    """What a call comes to. Raises `Failure`: INTRINSIC, PARAMETER_PATH for a path among its arguments, or
    DATA_LIMIT."""
    return _value(_read(text), scope)


def _value(argument: _Argument, scope: Scope) -> Any:
    if isinstance(argument, _Literal):
        return argument.value
    if isinstance(argument, _Path):
        return paths.read(argument.path, scope)
    values = [_value(one, scope) for one in argument.arguments]
    scope.work.spend(values)
    try:
        if argument.name == "States.Format":
            return formatted(*values, template=_template(argument))
        return FUNCTIONS[argument.name].call(scope.randomness, *values)
    except (ValueError, RecursionError, OverflowError) as failed:
        raise Failure(INTRINSIC, f"{argument.name}: {str(failed)[:300]}") from None


def _template(call: _Call) -> str | None:
    first = call.arguments[0]
    return first.template if isinstance(first, _Literal) and isinstance(first.value, str) else None


@lru_cache(maxsize=1024)
def _read(text: str) -> _Call:
    if len(text) > MAX_CHARS:
        raise IntrinsicInvalid(f"a call of an intrinsic function has at most {MAX_CHARS:,} characters")
    return _Reader(text).whole()


class _Reader:
    """Of one call, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def whole(self) -> _Call:
        call = self._call(depth=1)
        self._skip_space()
        if self._at != len(self._text):
            raise self._unexpected("the end")
        return call

    def _call(self, depth: int) -> _Call:
        if depth > MAX_DEPTH:
            raise IntrinsicInvalid(f"intrinsic functions may be nested {MAX_DEPTH} deep")
        name = self._take(_NAME)
        if name is None:
            raise IntrinsicInvalid(
                "this has to be a path, which begins with $, or a call such as States.Format('{}', $.id)"
            )
        if name not in FUNCTIONS:
            raise IntrinsicInvalid(f"there is no intrinsic function {name[:80]}")
        self._at += 1
        arguments: list[_Argument] = []
        while not self._is_next(")"):
            if arguments:
                self._expect(",")
            arguments.append(self._argument(depth))
        self._expect(")")
        _check_arguments(name, arguments, FUNCTIONS[name].arity)
        return _Call(name, tuple(arguments))

    def _argument(self, depth: int) -> _Argument:
        self._skip_space()
        if self._text.startswith("$", self._at):
            return self._path()
        string = self._take(_STRING)
        if string is not None:
            return _literal(string[1:-1])
        word = self._take(_WORD)
        if word is not None:
            return _Literal(_WORDS[word])
        number = self._take(_NUMBER)
        if number is not None:
            return _Literal(int(number) if number.lstrip("-").isdigit() else float(number))
        if _NAME.match(self._text, self._at):
            return self._call(depth + 1)
        raise self._unexpected("an argument (a path, 'text', a number, true, false, null, a call)")

    def _path(self) -> _Path:
        """To the comma or bracket that is not the path's own."""
        start, depth, quote = self._at, 0, ""
        at = start
        while at < len(self._text):
            char = self._text[at]
            if char == "\\":
                at += 1
            elif quote:
                quote = "" if char == quote else quote
            elif char in "'\"":
                quote = char
            elif depth == 0 and char in ",)":
                break
            else:
                depth += (char in "[(") - (char in "])")
            at += 1
        self._at = at
        path = self._text[start:at].rstrip()
        try:
            paths.check(path)
        except paths.PathInvalid as invalid:
            raise IntrinsicInvalid(str(invalid)) from None
        return _Path(path)

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found[0]

    def _is_next(self, char: str) -> bool:
        self._skip_space()
        return self._text.startswith(char, self._at)

    def _expect(self, char: str) -> None:
        if not self._is_next(char):
            raise self._unexpected(f"'{char}'")
        self._at += 1

    def _skip_space(self) -> None:
        self._take(_SPACE)

    def _unexpected(self, wanted: str) -> IntrinsicInvalid:
        rest = self._text[self._at : self._at + 40]
        return IntrinsicInvalid(f"{wanted} has to be where '{rest}' is" if rest else f"{wanted} is missing at the end")


def _literal(written: str) -> _Literal:
    for escape in _ESCAPE.finditer(written):
        if escape[1] not in "'{}\\":
            raise IntrinsicInvalid(r"a backslash may stand before ' { } and \ only")
    return _Literal(_ESCAPE.sub(r"\1", written), template=written)


def _check_arguments(name: str, arguments: list[_Argument], arity: Arity) -> None:
    if not arity.least <= len(arguments) <= arity.most:
        raise IntrinsicInvalid(f"{name} takes {arity}, not {len(arguments)}")
