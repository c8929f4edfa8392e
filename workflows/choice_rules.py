"""Reads the rules of a Choice. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from workflows import timestamps
from workflows.choices import IS_PRESENT, OPERATORS, PATH_COMPARISONS, STRING_MATCHES, TYPE_TESTS, is_number, literals
from workflows.fields import Fields
from workflows.problems import Problems
from workflows.spelling import BOOLEAN_FIELDS, RULE_FIELDS
from workflows.states import Rule

_NESTED: Final = RULE_FIELDS - {"Next"}


def rules(state: Fields, problems: Problems) -> tuple[Rule, ...]:
    state.need("Choices")
    return tuple(_rule(one, path, problems) for one, path in state.elements("Choices", least=1))


def _rule(value: Any, path: str, problems: Problems) -> Rule:
    fields = Fields(value, path, RULE_FIELDS, "a choice rule", problems)
    fields.need("Next")
    _check(fields, problems)
    test = {name: one for name, one in value.items() if name != "Next"} if isinstance(value, dict) else {}
    return Rule(test=test, next=fields.name_of_state("Next"))


def _check_nested(value: Any, path: str, problems: Problems) -> None:
    fields = Fields(value, path, _NESTED, "a choice rule inside another (only the outermost has Next)", problems)
    _check(fields, problems)


def _check(fields: Fields, problems: Problems) -> None:
    if not fields.is_object:
        return
    fields.text("Comment")
    kinds = sorted(name for name in (*BOOLEAN_FIELDS, *OPERATORS) if name in fields)
    if len(kinds) != 1:
        there = f", not {' and '.join(kinds[:5])}" if kinds else ""
        fields.wrong("", f"has to have one of And, Or, Not, or one comparison such as StringEquals{there}")
    for name in kinds:
        if name in BOOLEAN_FIELDS:
            _check_boolean(fields, name, problems)
        else:
            _check_operand(fields, name)
    if any(name in OPERATORS for name in kinds):
        fields.need("Variable")
        fields.any_path("Variable")
    elif "Variable" in fields:
        fields.wrong("Variable", "belongs to a comparison")


def _check_boolean(fields: Fields, name: str, problems: Problems) -> None:
    if name == "Not":
        _check_nested(fields.get(name), f"{fields.path}.Not", problems)
        return
    for one, path in fields.elements(name, least=1):
        _check_nested(one, path, problems)


def _is_pattern(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(literals(value))
    except ValueError:
        return False


_OPERANDS: Final[Mapping[str, tuple[str, Callable[[Any], bool]]]] = {
    "String": ("a string", lambda value: isinstance(value, str)),
    "Numeric": ("a number", is_number),
    "Boolean": ("true or false", lambda value: isinstance(value, bool)),
    "Timestamp": (
        "a timestamp such as 2026-03-14T01:59:00Z",
        lambda value: isinstance(value, str) and timestamps.parse(value) is not None,
    ),
}


def _check_operand(fields: Fields, name: str) -> None:
    value = fields.get(name)
    if name in PATH_COMPARISONS:
        fields.any_path(name)
    elif name == STRING_MATCHES:
        if not _is_pattern(value):
            fields.wrong(name, r"has to be a string in which a backslash stands before * or another backslash only")
    else:
        kind = "Boolean" if name in TYPE_TESTS or name == IS_PRESENT else _kind(name)
        wanted, fits = _OPERANDS[kind]
        if not fits(value):
            fields.wrong(name, f"has to be {wanted}")


def _kind(name: str) -> str:
    return next(kind for kind in _OPERANDS if name.startswith(kind))
