"""Paths of definitions: what they lead to, what is refused when a definition is read, and what they may cost."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflows import paths
from workflows.paths import PathInvalid
from workflows.scope import Scope
from workflows.states import DATA_LIMIT, PARAMETER_PATH, RESULT_PATH_MATCH, RUNTIME, Failure

DATA: dict[str, Any] = {
    "foo": 123,
    "bar": ["a", "b", "c"],
    "car": {"cdr": True},
    "none": None,
    "store": {"book": [{"title": "x", "price": 8}, {"title": "y", "price": 12}, {"title": "z"}]},
    "a name": {"it's": 1, "with.dot": 2},
    "vals": [0, 10, 20, 30, 40, 50],
    "text": '{"json": 1}',
    "dash-ed": 3,
    "1st": 4,
}
CONTEXT = {"Execution": {"Id": "e1"}, "Tags": ["t", "u"]}


def led(path: str, data: Any = DATA) -> Any:
    return paths.read(path, Scope(data, CONTEXT))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        # § "Reference Paths": the specification's own examples.
        ("$.foo", 123),
        ("$.bar", ["a", "b", "c"]),
        ("$.car.cdr", True),
        ("$", DATA),
        ("$.none", None),
        ("$.bar[2]", "c"),
        ("$.bar[-1]", "c"),
        ("$['store']['book'][0]['title']", "x"),
        ('$["a name"]["it\'s"]', 1),
        (r"$['a name']['it\'s']", 1),
        (r"$['a name'].with\.dot", 2),
        ("$.dash-ed", 3),
        ("$.1st", 4),
        # A path that may lead to several values gives a list, of however many there are.
        ("$.vals[0,1]", [0, 10]),
        ("$.vals[-3:]", [30, 40, 50]),
        ("$.vals[1:2]", [10]),
        ("$.store.book[*].title", ["x", "y", "z"]),
        ("$..title", ["x", "y", "z"]),
        ("$.store.book[?(@.price < 10)]", [{"title": "x", "price": 8}]),
        ("$.store.book[?(@.price > 10 && @.title == 'y')].title", ["y"]),
        ("$.store.book[?(@.price)].price", [8, 12]),
        ("$.store.book[?(@.price == $.none)]", []),
        ("$..nowhere", []),
        ("$.foo[*]", []),
        ("$.text[0:2]", []),
        # The context.
        ("$$.Execution.Id", "e1"),
        ("$$.Tags[*]", ["t", "u"]),
        ("$$", CONTEXT),
    ],
)
def test_a_path_leads_to_its_value(path: str, value: Any) -> None:
    paths.check(path)
    assert led(path) == value


@pytest.mark.parametrize(
    "path", ["$.nowhere", "$.foo.deeper", "$.bar[3]", "$.bar[-4]", "$.bar.a", "$.car[0]", "$.text[0]", "$$.foo"]
)
def test_without_a_value_it_fails_with_the_error_that_was_asked_for(path: str) -> None:
    for error in (PARAMETER_PATH, RUNTIME):
        with pytest.raises(Failure) as failed:
            paths.read(path, Scope(DATA, CONTEXT), error=error)
        assert failed.value.error == error
        assert path in failed.value.cause


@pytest.mark.parametrize("data", ['{"json": 1}', '["a"]', "x", 5, 1.5, True, None])
def test_a_scalar_has_no_parts_text_that_looks_like_json_neither(data: Any) -> None:
    assert led("$", data) == data
    assert led("$..json", data) == led("$[*]", data) == []
    with pytest.raises(Failure):
        led("$.json", data)


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        # § "Reference Paths": "examples of acceptable Reference Path syntax".
        ("$.store.book", ("store", "book")),
        (r"$.store\.book", ("store.book",)),
        (r"$.\stor\e.boo\k", ("store", "book")),
        ("$.store.book.title", ("store", "book", "title")),
        (r"$.foo.\.bar", ("foo", ".bar")),
        (r"$.foo\@bar.baz\[\[.\?pretty", ("foo@bar", "baz[[", "?pretty")),
        (r"$.&Ж中.\uD800\uDF46", ("&Ж中", "\U00010346")),
        ("$.ledgers.branch[0].pending.count", ("ledgers", "branch", 0, "pending", "count")),
        ("$.ledgers.branch[0]", ("ledgers", "branch", 0)),
        ("$.ledgers[0][22][315].foo", ("ledgers", 0, 22, 315, "foo")),
        ("$['store']['book']", ("store", "book")),
        ("$['store'][0]['book']", ("store", 0, "book")),
    ],
)
def test_reference_paths_of_the_specification(path: str, parts: tuple[str | int, ...]) -> None:
    assert paths.check_reference(path) == parts


@pytest.mark.parametrize("path", ["$.a[*]", "$..a", "$.a[0,1]", "$.a[0:2]", "$.a[?(@.b)]", "$.a[-1]", "$.*"])
def test_what_may_lead_to_several_values_is_no_reference_path(path: str) -> None:
    paths.check(path)
    with pytest.raises(PathInvalid, match="Reference Path"):
        paths.check_reference(path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "foo.bar",
        "@.a",
        "$a",
        "$.",
        "$..",
        "$.a.",
        "$.a b",
        "$[",
        "$[a]",
        "$['a",
        "$['a\\",
        "$.a[01]",
        "$.a[99999999999999999999]",
        "$.a[?(@.b",
        "$$$.a",
        "$.a|$.b",
        "$.a & $.b",
        "^.a",
        r"$.\uD800",
        r"$['\uD800']",
        # What costs more than it should.
        "$..a..b",
        "$[*,*]",
        "$.a[0,0]",
        "$.a[0,-1]",
        "$.a[?@.b,?@.c]",
        "$[?@..a]",
        "$[?@[*]]",
        "$[?@.a[?@.b]]",
        "$[?@.a][?@.b][?@.c][?@.d][?@.e]",
        "$[?match(@.a, '(a+)+$')]",
        "$[?search(@.a, 'x')]",
        "$[?@.a =~ /x/]",
        "$[?length(@.a) > 1]",
        "$.a.length()",
        "$" + ".a" * 500,
    ],
)
def test_what_is_refused_when_a_definition_is_read(path: str) -> None:
    with pytest.raises(PathInvalid) as refused:
        paths.check(path)
    assert str(refused.value)


@given(st.text(alphabet="$.[]*?@'\"\\,:()ab0-&|!=<> u~^#_\ud800é", max_size=40).map(lambda text: "$" + text))
def test_any_text_is_a_path_or_is_refused(path: str) -> None:
    try:
        paths.check(path)
    except PathInvalid:
        return
    for data in (DATA, [[1], {"a": [0]}], "a"):
        try:
            led(path, data)
        except Failure:
            pass


def test_escapes_without_an_end_cost_nothing() -> None:
    with pytest.raises(PathInvalid):
        paths.check("$['" + r"\u0041" * 150)


def test_values_nested_too_deep_are_a_failure() -> None:
    deep: Any = 1
    for _ in range(900):
        deep = {"a": [deep]}
    with pytest.raises(Failure):
        led("$..b", deep)


def test_long_names_do_not_grow_with_what_is_found() -> None:
    """The library notes the path to each value: with a name of 100 kB, 2,000 times that."""
    name = "n" * 100_000
    data = {name: [{"x": index} for index in range(2000)]}
    tracemalloc.start()
    try:
        assert led("$..x", data) == list(range(2000))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_what_paths_look_at_is_bounded_for_all_paths_of_a_field() -> None:
    scope = Scope({"values": ["x" * 1000] * 1000}, {})
    for _ in range(5):
        assert paths.read("$..y", scope) == []
    with pytest.raises(Failure) as failed:
        [paths.read("$..y", scope) for _ in range(10)]
    assert failed.value.error == DATA_LIMIT


def test_each_comparison_of_a_filter_counts() -> None:
    data = [1] * 300_000
    assert paths.read("$[?@.a == 1]", Scope(data, {})) == []
    assert paths.read("$[-1]", Scope(data * 10, {})) == 1, "one value is no work"
    with pytest.raises(Failure) as failed:
        paths.read("$[?@.a == 1" + " || @.b == 2" * 50 + "]", Scope(data, {}))
    assert failed.value.error == DATA_LIMIT


@pytest.mark.parametrize(
    ("path", "data", "result"),
    [
        # § "Using InputPath, …": the specification's own examples.
        ("$.master.detail", {"master": {"detail": [1, 2, 3]}}, {"master": {"detail": "new"}}),
        (
            "$.master.result.sum",
            {"master": {"detail": [1, 2, 3]}},
            {"master": {"detail": [1, 2, 3], "result": {"sum": "new"}}},
        ),
        ("$.b.greeting", {"a": 1}, {"a": 1, "b": {"greeting": "new"}}),
        ("$", {"a": 1}, "new"),
        ("$", None, "new"),
        ("$.a[1].b", {"a": [0, {"c": 1}]}, {"a": [0, {"c": 1, "b": "new"}]}),
        ("$[0]", ["old", 1], ["new", 1]),
        ("$['a b']", {}, {"a b": "new"}),
    ],
)
def test_putting_a_value(path: str, data: Any, result: Any) -> None:
    before = repr(data)
    assert paths.put(path, data, "new") == result
    assert repr(data) == before


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("$.x", "foo"),
        ("$.x", []),
        ("$.x", None),
        ("$.a.b", {"a": 1}),
        ("$.a.b", {"a": None}),
        ("$[0]", {}),
        ("$.a[1]", {"a": [0]}),
        ("$.a[0]", {}),
    ],
)
def test_where_nothing_can_be_put(path: str, data: Any) -> None:
    with pytest.raises(Failure) as failed:
        paths.put(path, data, "new")
    assert failed.value.error == RESULT_PATH_MATCH
