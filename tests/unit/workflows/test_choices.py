"""Choice rules: each operator of the specification, at its edges."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.workflows.definitions import choice_of, parsed
from workflows import choices
from workflows.choices import is_like
from workflows.states import DATA_LIMIT, NO_CHOICE, RUNTIME, Failure


def holds(rule: dict[str, Any], data: Any, context: dict[str, Any] | None = None) -> bool:
    state = choice_of(rule)
    try:
        return choices.chosen(state, data, context or {}) == "B"
    except Failure as failure:
        if failure.error != NO_CHOICE:
            raise
        return False


ORDERS = {
    "Equals": (False, True, False),
    "LessThan": (True, False, False),
    "GreaterThan": (False, False, True),
    "LessThanEquals": (True, True, False),
    "GreaterThanEquals": (False, True, True),
}
VALUES: dict[str, tuple[Any, Any, Any]] = {
    "String": ("a", "b", "c"),
    "Numeric": (-1, 2.0, 10),
    "Timestamp": ("2016-03-14T01:59:00Z", "2016-03-14T03:59:01+02:00", "2016-03-14T01:59:01.5Z"),
}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("order", ORDERS)
def test_comparisons(kind: str, order: str) -> None:
    middle = VALUES[kind][1]
    for value, wanted in zip(VALUES[kind], ORDERS[order], strict=True):
        assert holds({"Variable": "$.v", f"{kind}{order}": middle}, {"v": value}) is wanted
        assert holds({"Variable": "$.v", f"{kind}{order}Path": "$.o"}, {"v": value, "o": middle}) is wanted
        assert holds({"Variable": "$$.v", f"{kind}{order}Path": "$$.o"}, {}, {"v": value, "o": middle}) is wanted


def test_booleans() -> None:
    for value in (True, False):
        for other in (True, False):
            assert holds({"Variable": "$.v", "BooleanEquals": other}, {"v": value}) is (value is other)
            assert holds({"Variable": "$.v", "BooleanEqualsPath": "$.o"}, {"v": value, "o": other}) is (value is other)


@pytest.mark.parametrize(
    ("name", "operand", "value"),
    [
        ("StringEquals", "1", 1),
        ("StringEqualsPath", "$.none", None),
        ("NumericEquals", 1, True),
        ("NumericEquals", 1, "1"),
        ("NumericLessThan", 1, None),
        ("NumericEqualsPath", "$.true", 1),
        ("BooleanEquals", True, 1),
        ("BooleanEquals", False, None),
        ("BooleanEqualsPath", "$.none", None),
        ("TimestampEquals", "2016-03-14T01:59:00Z", "2016-03-14"),
        ("TimestampLessThan", "2016-03-14T01:59:00Z", 0),
        ("TimestampEqualsPath", "$.text", "x"),
        ("StringMatches", "*", 5),
        ("StringMatches", "*", None),
    ],
)
def test_values_of_another_type_do_not_fit(name: str, operand: Any, value: Any) -> None:
    assert not holds({"Variable": "$.v", name: operand}, {"v": value, "none": None, "true": True, "text": "x"})


@pytest.mark.parametrize(
    ("name", "values", "others"),
    [
        ("IsNull", [None], [0, "", False, [], {}]),
        ("IsNumeric", [0, 1.5], [True, "1", None]),
        ("IsString", ["", "2016-03-14T01:59:00Z"], [1, None, ["a"]]),
        ("IsBoolean", [True, False], [0, 1, "true", None]),
        (
            "IsTimestamp",
            ["2016-03-14T01:59:00Z", "2016-03-14T01:59:00.123456789-12:30"],
            [
                "2016-03-14t01:59:00Z",
                "2016-03-14T01:59:00z",
                "2016-03-14T01:59:00",
                "2016-03-14T01:59Z",
                "2016-03-14 01:59:00Z",
                "2016-02-30T01:59:00Z",
                "2016-03-14T25:59:00Z",
                "0000-01-01T00:00:00Z",
                "2016-03-14T01:59:00+25:00",
                "2016-03-14T01:59:00Z\n",
                "٢٠١٦-03-14T01:59:00Z",
                1457920740,
                None,
            ],
        ),
        ("IsPresent", [None, False, 0, [], {}], []),
    ],
)
def test_type_tests(name: str, values: list[Any], others: list[Any]) -> None:
    for value in values:
        assert holds({"Variable": "$.v", name: True}, {"v": value})
        assert not holds({"Variable": "$.v", name: False}, {"v": value})
    for value in others:
        assert not holds({"Variable": "$.v", name: True}, {"v": value})
        assert holds({"Variable": "$.v", name: False}, {"v": value})


def test_what_is_not_there_is_not_present() -> None:
    for path in ("$.nowhere", "$.v.w", "$.v[0]", "$..nowhere", "$$.nowhere"):
        assert not holds({"Variable": path, "IsPresent": True}, {"v": 1})
        assert holds({"Variable": path, "IsPresent": False}, {"v": 1})
    assert holds({"Variable": "$.v[?(@.a)]", "IsPresent": True}, {"v": [{"a": 1}]})


@pytest.mark.parametrize(
    "rule",
    [
        {"Variable": "$.nowhere", "StringEquals": "a"},
        {"Variable": "$.nowhere", "IsNull": True},
        {"Variable": "$.v", "StringEqualsPath": "$.nowhere"},
        {"Not": {"Variable": "$.nowhere", "NumericEquals": 1}},
    ],
)
def test_any_other_rule_fails_without_a_value(rule: dict[str, Any]) -> None:
    with pytest.raises(Failure) as failed:
        holds(rule, {"v": "a"})
    assert failed.value.error == RUNTIME


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("foo*.log", ["foo23.log", "foo.log"], ["foo.lo", "xfoo.log", "foo.log2"]),
        ("*.log", ["zebra.log", ".log"], ["log"]),
        ("foo*.*", ["foobar.zebra", "foo."], ["foo"]),
        ("*", ["", "a", "\n"], []),
        ("", [""], ["a"]),
        ("a*a", ["aa", "aba"], ["a", "ab"]),
        ("a*b*a", ["aba", "aXbYa"], ["aa", "abba "]),
        ("ab*ba*ab", ["abbaab", "ab-ba-ab"], ["abab", "abaab"]),
        (r"a\*b", ["a*b"], ["ab", "axb"]),
        (r"a\\*", ["a\\", "a\\b"], ["a", "ab"]),
        ("a.c?[x]", ["a.c?[x]"], ["abc?[x]", "a.c"]),
        ("a**b", ["ab", "a.b"], ["a"]),
    ],
)
def test_string_matches(pattern: str, fitting: list[str], others: list[str]) -> None:
    for text in fitting:
        assert holds({"Variable": "$", "StringMatches": pattern}, text), text
    for text in others:
        assert not holds({"Variable": "$", "StringMatches": pattern}, text), text


def test_many_stars_cost_nothing() -> None:
    assert not is_like("a" * 100_000, "*a" * 5_000 + "*b")


def test_a_large_text_held_against_many_patterns_is_too_much() -> None:
    state = choice_of(*[{"Variable": "$", "StringMatches": f"*{index}"} for index in range(100)])
    with pytest.raises(Failure) as failed:
        choices.chosen(state, "x" * 1_000_000, {})
    assert failed.value.error == DATA_LIMIT


DISPATCH: dict[str, Any] = {
    "Type": "Choice",
    "Choices": [
        {"Not": {"Variable": "$.type", "StringEquals": "Private"}, "Next": "B"},
        {
            "And": [
                {"Variable": "$.value", "IsPresent": True},
                {"Variable": "$.value", "IsNumeric": True},
                {"Variable": "$.value", "NumericGreaterThanEquals": 20},
                {"Variable": "$.value", "NumericLessThan": 30},
            ],
            "Next": "C",
        },
        {"Variable": "$.rating", "NumericGreaterThanPath": "$.auditThreshold", "Next": "D"},
    ],
    "Default": "E",
}


@pytest.mark.parametrize(
    ("data", "target"),
    [
        ({"type": "Private", "value": 22}, "C"),
        ({"type": "Public"}, "B"),
        ({"type": "Private", "value": "22", "rating": 2, "auditThreshold": 1}, "D"),
        ({"type": "Private", "rating": 1, "auditThreshold": 1}, "E"),
    ],
)
def test_the_example_of_the_specification(data: Any, target: str) -> None:
    end = {"Type": "Succeed"}
    state = parsed(DISPATCH, end, end, end, end).states["A"]
    assert choices.chosen(state, data, {}) == target


def test_and_or_not() -> None:
    yes, no = {"Variable": "$.v", "NumericEquals": 1}, {"Variable": "$.v", "NumericEquals": 2}
    missing = {"Variable": "$.nowhere", "NumericEquals": 2}
    data = {"v": 1}
    assert holds({"And": [yes, yes]}, data)
    assert not holds({"And": [yes, no]}, data)
    assert holds({"Or": [no, yes]}, data)
    assert not holds({"Or": [no, no]}, data)
    assert holds({"Not": no}, data)
    assert holds({"Or": [{"And": [yes, {"Not": no}]}, no]}, data)
    assert not holds({"And": [no, missing]}, data), "it ends where the answer is known"
    assert holds({"Or": [yes, missing]}, data), "it ends where the answer is known"


def test_nothing_fits() -> None:
    state = choice_of({"Variable": "$", "StringEquals": "a"})
    with pytest.raises(Failure) as failed:
        choices.chosen(state, "b", {})
    assert failed.value.error == NO_CHOICE
    assert "'A'" in failed.value.cause
