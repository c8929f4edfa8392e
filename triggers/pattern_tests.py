"""The alternatives of a pattern's leaf: exact values and operators, each in time linear in the value. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from operator import ge, gt, le, lt
from typing import Any, Protocol

NumericTest = Callable[[float, float], bool]


class PatternError(ValueError):
    """Not a pattern; `path` says where."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


class Test(Protocol):
    """One operator with its operand."""

    @property
    def cost(self) -> int:
        """How often it goes through a value."""

    def fits(self, value: Any) -> bool: ...


@dataclass(frozen=True, slots=True)
class Alternatives:
    """A leaf: what its value may be."""

    exact: frozenset[tuple[type, Any]]
    tests: tuple[Test, ...]
    present: bool
    """``{"exists": true}``"""
    absent: bool
    """``{"exists": false}``"""
    written: list[Any]


@dataclass(frozen=True, slots=True)
class _Text:
    """Strings that begin, end, or are as said."""

    how: Callable[[str, str], bool]
    operand: str
    ignore_case: bool = False
    cost: int = 1

    def fits(self, value: Any) -> bool:
        if not isinstance(value, str):
            return False
        return self.how(value.casefold(), self.operand) if self.ignore_case else self.how(value, self.operand)


@dataclass(frozen=True, slots=True)
class _Wildcard:
    """``*`` is any text. The parts between the stars are looked for one after the other, each where the one before
    ended: the leftmost place is as good as any, so nothing is tried twice."""

    parts: tuple[str, ...]
    cost: int = 2

    def fits(self, value: Any) -> bool:
        if not isinstance(value, str):
            return False
        first, *middle = self.parts
        if not middle:
            return value == first
        last = middle.pop()
        end = len(value) - len(last)
        if not value.startswith(first) or not value.endswith(last) or end < len(first):
            return False
        at = len(first)
        for part in middle:
            at = value.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True


@dataclass(frozen=True, slots=True)
class _Numeric:
    conditions: tuple[tuple[NumericTest, float], ...]
    cost: int = 1

    def fits(self, value: Any) -> bool:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and all(holds(value, bound) for holds, bound in self.conditions)


@dataclass(frozen=True, slots=True)
class _Cidr:
    network: Any
    cost: int = 4

    def fits(self, value: Any) -> bool:
        try:
            return isinstance(value, str) and len(value) < 64 and ip_address(value) in self.network
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class _AnythingBut:
    """Any value that is there, but these."""

    exact: frozenset[tuple[type, Any]]
    tests: tuple[Test, ...]

    @property
    def cost(self) -> int:
        return 1 + sum(test.cost for test in self.tests)

    def fits(self, value: Any) -> bool:
        return (type(value), value) not in self.exact and not any(test.fits(value) for test in self.tests)


def leaf_of(written: Sequence[Any], path: str) -> Alternatives:
    """From the array of a pattern. Raises PatternError."""
    if not written:
        raise PatternError(path, "Must have at least one value.")
    exact: set[tuple[type, Any]] = set()
    tests: list[Test] = []
    exists: set[bool] = set()
    for number, one in enumerate(written):
        at = f"{path}[{number}]"
        if isinstance(one, list):
            raise PatternError(at, "Must be a value or an operator, not an array.")
        if not isinstance(one, dict):
            exact |= exactly(one)
            continue
        name, operand = _operator(one, at)
        if name == "exists":
            exists.add(_boolean(operand, f"{at}.exists"))
        else:
            tests.append(OPERATORS[name](operand, f"{at}.{name}"))
    return Alternatives(frozenset(exact), tuple(tests), True in exists, False in exists, list(written))


def exactly(value: Any) -> set[tuple[type, Any]]:
    """With its type, for to Python true is 1; a number as both of its types."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return {(type(value), value)}
    return {(int, value), (float, value)}


def _operator(value: dict[str, Any], at: str) -> tuple[str, Any]:
    if len(value) != 1:
        raise PatternError(at, "Must have exactly one operator.")
    ((name, operand),) = value.items()
    if name != "exists" and name not in OPERATORS:
        known = ", ".join(["exists", *OPERATORS])
        raise PatternError(at, f"{name[:40]!r} is no operator. There are {known}.")
    return name, operand


def _boolean(value: Any, at: str) -> bool:
    if not isinstance(value, bool):
        raise PatternError(at, "Must be true or false.")
    return value


def _string(value: Any, at: str) -> str:
    if not isinstance(value, str) or not value:
        raise PatternError(at, "Must be a string that is not empty.")
    return value


def _affix(how: Callable[[str, str], bool]) -> Callable[[Any, str], Test]:
    def made(operand: Any, at: str) -> Test:
        if isinstance(operand, dict):
            if set(operand) != {"equals-ignore-case"}:
                raise PatternError(at, 'Must be a string or {"equals-ignore-case": "…"}.')
            text = _string(operand["equals-ignore-case"], f"{at}.equals-ignore-case")
            return _Text(how, text.casefold(), ignore_case=True, cost=4)
        return _Text(how, _string(operand, at))

    return made


def _ignoring_case(operand: Any, at: str) -> Test:
    return _Text(str.__eq__, _string(operand, at).casefold(), ignore_case=True, cost=4)


def _wildcard(operand: Any, at: str) -> Test:
    parts: list[str] = []
    part = ""
    text = iter(_string(operand, at))
    for one in text:
        if one == "\\":
            escaped = next(text, "")
            if escaped not in ("*", "\\"):
                raise PatternError(at, "A backslash may stand before * and \\ only.")
            part += escaped
        elif one == "*":
            if parts and not part:
                raise PatternError(at, "Two * must not follow each other.")
            parts.append(part)
            part = ""
        else:
            part += one
    return _Wildcard((*parts, part))


_COMPARISONS: dict[str, NumericTest] = {"=": lambda a, b: a == b, "<": lt, "<=": le, ">": gt, ">=": ge}


def _numeric(operand: Any, at: str) -> Test:
    if not isinstance(operand, list) or len(operand) not in (2, 4):
        raise PatternError(at, 'Must be a comparison and a number, such as [">", 0], or two such pairs.')
    pairs = [(operand[n], operand[n + 1]) for n in range(0, len(operand), 2)]
    for comparison, number in pairs:
        if not isinstance(comparison, str) or comparison not in _COMPARISONS:
            raise PatternError(at, f"{str(comparison)[:20]!r} is no comparison: one of {', '.join(_COMPARISONS)}.")
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise PatternError(at, f"{str(number)[:20]!r} is no number.")
    if len(pairs) == 2:
        (lower, bottom), (upper, top) = pairs
        if lower not in (">", ">=") or upper not in ("<", "<="):
            raise PatternError(at, "A range has its lower bound (> or >=) first, then its upper one (< or <=).")
        if bottom > top or (bottom == top and (lower, upper) != (">=", "<=")):
            raise PatternError(at, "No number is in this range.")
    return _Numeric(tuple((_COMPARISONS[comparison], number) for comparison, number in pairs))


def _cidr(operand: Any, at: str) -> Test:
    try:
        return _Cidr(ip_network(_string(operand, at), strict=False))
    except ValueError as error:
        if isinstance(error, PatternError):
            raise
        raise PatternError(at, "Must be a network such as 10.0.0.0/24.") from None


def _anything_but(operand: Any, at: str) -> Test:
    if isinstance(operand, dict):
        name, inner = _operator(operand, at)
        if name not in _WITHIN_ANYTHING_BUT:
            raise PatternError(at, f"anything-but takes values, {', '.join(_WITHIN_ANYTHING_BUT)}; not {name}.")
        several = inner if isinstance(inner, list) else [inner]
        if not several:
            raise PatternError(f"{at}.{name}", "Must have at least one value.")
        return _AnythingBut(frozenset(), tuple(OPERATORS[name](one, f"{at}.{name}") for one in several))
    values = operand if isinstance(operand, list) else [operand]
    kinds = {str if isinstance(v, str) else float if type(v) in (int, float) else None for v in values}
    if len(kinds) != 1 or None in kinds:
        raise PatternError(at, "Must be a string, a number, or an array of strings only or of numbers only.")
    return _AnythingBut(frozenset().union(*(exactly(value) for value in values)), ())


_WITHIN_ANYTHING_BUT = ("prefix", "suffix", "equals-ignore-case", "wildcard")
OPERATORS: dict[str, Callable[[Any, str], Test]] = {
    "prefix": _affix(str.startswith),
    "suffix": _affix(str.endswith),
    "equals-ignore-case": _ignoring_case,
    "wildcard": _wildcard,
    "numeric": _numeric,
    "cidr": _cidr,
    "anything-but": _anything_but,
}
