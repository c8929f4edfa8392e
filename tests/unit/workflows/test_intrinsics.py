"""Intrinsic functions: AWS's own examples, their rules of writing, and their bounds."""

from __future__ import annotations

import random
import re
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows import intrinsics
from workflows.intrinsic_functions import FUNCTIONS
from workflows.intrinsics import IntrinsicInvalid
from workflows.scope import Scope
from workflows.states import DATA_LIMIT, INTRINSIC, PARAMETER_PATH, Failure

DATA: dict[str, Any] = {
    "name": "Foo",
    "template": r"Hello, {} \{\} \n",
    "Id": 123456,
    "someString": '{"number": 20}',
    "someJson": {"name": "Foo", "year": 2020, "é": [None, True, 1.5]},
    "inputArray": [1, 2, 3, 4, 5, 6, 7, 8, 9],
    "many": [1, 2, 3, 3, 3, 3, 3, 3, 4],
    "lookingFor": 5,
    "index": 5,
    "json1": {"a": {"a1": 1, "a2": 2}, "b": 2},
    "json2": {"a": {"a3": 1, "a4": 2}, "c": 3},
    "value1": 111,
    "step": -1,
    "a'b, c)": "odd",
    "long": "x" * 10_001,
    "half": "\ud800",
    "deep": "[" * 100_000,
}


def called(text: str, data: Any = DATA) -> Any:
    intrinsics.check(text)
    return intrinsics.evaluate(text, Scope(data, {"Execution": {"Id": "e1"}}))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (
            "States.Format('Your name is {}, we are in the year {}', $.name, 2020)",
            "Your name is Foo, we are in the year 2020",
        ),
        (r"States.Format('Welcome to {} {}\'s playlist.', $.name, 'B')", "Welcome to Foo B's playlist."),
        (r"States.Format('\{\} {} \\', 1.5)", r"{} 1.5 \ "[:-1]),
        (r"States.Format($.template, null)", r"Hello, null {} \n"),
        ("States.Format('{}{}{}', true, false, $.Id)", "truefalse123456"),
        ("States.Format('')", ""),
        ("States.Format('{x}')", "{x}"),
        ("States.StringToJson($.someString)", {"number": 20}),
        ("States.StringToJson('null')", None),
        ("States.JsonToString($.someJson)", '{"name":"Foo","year":2020,"é":[null,true,1.5]}'),
        ("States.Array('Foo', 2020, $.someJson, null)", ["Foo", 2020, DATA["someJson"], None]),
        ("States.Array()", []),
        ("States.Array( )", []),
        ("States.Array( 1 ,-2.5e1,true )", [1, -25.0, True]),
        (r"States.Array($['a\'b, c)'], $.inputArray[0,1], $.inputArray[?(@ > 8)])", ["odd", [1, 2], [9]]),
        ("States.Array('a,)b', '')", ["a,)b", ""]),
        ("States.ArrayPartition($.inputArray,4)", [[1, 2, 3, 4], [5, 6, 7, 8], [9]]),
        ("States.ArrayPartition($.inputArray, 4.6)", [[1, 2, 3, 4, 5], [6, 7, 8, 9]]),
        ("States.ArrayPartition(States.Array(), 2)", []),
        ("States.ArrayContains($.inputArray, $.lookingFor)", True),
        ("States.ArrayContains($.inputArray, 5.0)", True),
        ("States.ArrayContains($.inputArray, true)", False),
        ('States.ArrayContains(States.Array($.json1), States.StringToJson(\'{"b":2,"a":{"a2":2,"a1":1}}\'))', True),
        ("States.ArrayRange(1, 9, 2)", [1, 3, 5, 7, 9]),
        ("States.ArrayRange(3, 1, -1)", [3, 2, 1]),
        ("States.ArrayRange(1, 0, 1)", []),
        ("States.ArrayGetItem($.inputArray, $.index)", 6),
        ("States.ArrayLength($.inputArray)", 9),
        ("States.ArrayUnique($.many)", [1, 2, 3, 4]),
        ("States.ArrayUnique(States.Array(1, true, '1', 1.0, null, null))", [1, True, "1", None]),
        ("States.Base64Encode('Data to encode')", "RGF0YSB0byBlbmNvZGU="),
        ("States.Base64Decode('RGVjb2RlZCBkYXRh')", "Decoded data"),
        ("States.Hash('input data', 'SHA-1')", "aaff4a450a104cd177d28d18d74485e8cae074b7"),
        ("States.Hash('input data', 'MD5')", "812f45842bc6d66ee14572ce20db8e86"),
        ("States.JsonMerge($.json1, $.json2, false)", {"a": {"a3": 1, "a4": 2}, "b": 2, "c": 3}),
        ("States.MathAdd($.value1, $.step)", 110),
        ("States.MathAdd(1.5, 2.4)", 4),
        ("States.StringSplit('1,2,3,4,5', ',')", ["1", "2", "3", "4", "5"]),
        ("States.StringSplit('This.is+a,test=string', '.+,=')", ["This", "is", "a", "test", "string"]),
        ("States.StringSplit(',a,,b^-]', ',^-]')", ["a", "b"]),
        ("States.StringSplit('abc', '')", ["abc"]),
        ("States.Format('{}', States.ArrayGetItem(States.StringSplit($.name, 'o'), 0))", "F"),
    ],
)
def test_what_functions_give(text: str, value: Any) -> None:
    assert repr(called(text)) == repr(value), "1 is not 1.0 here"


@pytest.mark.parametrize(
    ("algorithm", "digits"), [("MD5", 32), ("SHA-1", 40), ("SHA-256", 64), ("SHA-384", 96), ("SHA-512", 128)]
)
def test_algorithms(algorithm: str, digits: int) -> None:
    assert re.fullmatch(rf"[0-9a-f]{{{digits}}}", called(f"States.Hash($.someJson, '{algorithm}')"))


def test_all_eighteen_are_there() -> None:
    assert len(FUNCTIONS) == 18


def test_random_numbers_come_from_the_source_or_from_a_seed() -> None:
    numbers = [called("States.MathRandom(1, 4)", {}) for _ in range(3)]
    assert numbers == [numbers[0]] * 3, "the same visit of a state"
    assert called("States.MathRandom(1, 999, 7)") == called("States.MathRandom(1, 999, 7)")
    scope = Scope({}, {}, source=random.Random(1))
    seen = {intrinsics.evaluate("States.MathRandom(1, 4)", scope) for _ in range(100)}
    assert seen == {1, 2, 3}, "the end is not among them"
    first, second = (uuid.UUID(intrinsics.evaluate("States.UUID()", scope)) for _ in range(2))
    assert first.version == second.version == 4
    assert first != second


@pytest.mark.parametrize(
    "text",
    [
        "States.Format('{}')",
        "States.Format('{}', 1, 2)",
        "States.Format(5)",
        "States.Format('{}', $.someJson)",
        "States.StringToJson('{')",
        "States.StringToJson('NaN')",
        "States.StringToJson('1e999')",
        "States.StringToJson($.deep)",
        "States.StringToJson('\"\\\\ud800\"')",
        "States.StringToJson(5)",
        "States.ArrayPartition($.inputArray, 0)",
        "States.ArrayPartition($.name, 1)",
        "States.ArrayPartition(States.ArrayRange(0, 999, 1), 'x')",
        "States.ArrayContains($.name, 1)",
        "States.ArrayRange(1, 9, 0)",
        "States.ArrayRange(0, 1000, 1)",
        "States.ArrayRange(0, 9000000000000000, 1)",
        "States.ArrayGetItem($.inputArray, 9)",
        "States.ArrayGetItem($.inputArray, -1)",
        "States.ArrayGetItem($.inputArray, true)",
        "States.ArrayLength($.name)",
        "States.ArrayUnique($.json1)",
        "States.Base64Encode($.long)",
        "States.Base64Encode($.half)",
        "States.Base64Decode('x')",
        "States.Base64Decode('/w==')",
        "States.Hash('x', 'SHA-3')",
        "States.Hash($.long, 'MD5')",
        "States.JsonMerge($.json1, $.json2, true)",
        "States.JsonMerge($.json1, $.name, false)",
        "States.MathRandom(2, 2)",
        "States.MathRandom('a', 2)",
        "States.MathAdd(1e99, 1)",
        "States.StringSplit(1, ',')",
    ],
)
def test_what_they_fail_for(text: str) -> None:
    with pytest.raises(Failure) as failed:
        called(text)
    assert failed.value.error == INTRINSIC
    assert failed.value.cause.startswith("States.")


def test_an_array_has_so_many_parts() -> None:
    numbers = list(range(2001))
    assert len(called("States.ArrayPartition($, 3)", numbers)) == 667
    with pytest.raises(Failure):
        called("States.ArrayPartition($, 2)", numbers)


def test_a_path_without_a_value() -> None:
    with pytest.raises(Failure) as failed:
        called("States.Array($.nowhere)")
    assert failed.value.error == PARAMETER_PATH


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text",
        "States.Format",
        "States.Format(",
        "States.Format()",
        "States.Format('a'",
        "States.Format('a' 'b')",
        "States.Format('a',)",
        "States.Format('a')x",
        "States.Format ('a')",
        "States.Format('a\\n')",
        "States.Format('a\\')",
        'States.Format("a")',
        "States.Nothing(1)",
        "states.format('a')",
        "Own.Function(1)",
        "States.UUID(1)",
        "States.MathAdd(1)",
        "States.MathAdd(1, 2, 3)",
        "States.MathRandom(1)",
        "States.Array(01)",
        "States.Array(1x)",
        "States.Array(nul)",
        "States.Array($.a b)",
        "States.Array($[?match(@, 'x')])",
        "States.Array($.a[)",
        "States.Array(" * 11 + ")" * 11,
        "States.Array(" + "1," * 5000 + "1)",
    ],
)
def test_what_is_refused_when_a_definition_is_read(text: str) -> None:
    with pytest.raises(IntrinsicInvalid) as refused:
        intrinsics.check(text)
    assert str(refused.value)


def test_ten_may_be_nested() -> None:
    assert called("States.Array(" * 10 + "1" + ")" * 10) == [[[[[[[[[[1]]]]]]]]]]


@given(st.text(alphabet="States.Format(),'\\ $[]{}10-e\"\ud800", max_size=40).map(lambda text: "States.Array(" + text))
def test_any_text_is_a_call_or_is_refused(text: str) -> None:
    try:
        intrinsics.check(text)
    except IntrinsicInvalid:
        return
    try:
        intrinsics.evaluate(text, Scope(DATA, {}))
    except Failure:
        pass


def test_texts_of_texts_do_not_grow_without_bound() -> None:
    text = "States.JsonToString(" * 10 + "$" + ")" * 10
    assert len(called(text, '"')) > 1000, "each quote is escaped, again and again"
    with pytest.raises(Failure) as failed:
        called(text, '"' * 100_000)
    assert failed.value.error == DATA_LIMIT


def test_no_text_is_made_that_is_larger_than_an_event() -> None:
    assert called("States.ArrayLength($)", ["x" * 10_000_000]) == 1
    for text in ("States.JsonToString($)", "States.Hash($, 'MD5')"):
        with pytest.raises(Failure) as failed:
            called(text, ["x" * 10_000_000])
        assert failed.value.error == DATA_LIMIT


def test_a_large_value_named_often_is_too_much() -> None:
    data = ["x" * 1000] * 1000
    for text in ("States.Array(" + "$," * 100 + "1)", "States.Format('" + "{}" * 100 + "'" + ",$[0]" * 100 + ")"):
        assert called(text, data[:1])
    with pytest.raises(Failure) as failed:
        called("States.Array(" + "States.ArrayLength($)," * 100 + "1)", data)
    assert failed.value.error == DATA_LIMIT
