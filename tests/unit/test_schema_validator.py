"""Schemas that tenants write: what they may be, that they mean what the library says, and what they can't do to us."""

from __future__ import annotations

from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referencing import Registry

from functions.schema_validator import DIALECTS, MAX_DEPTH, TooCostly, Unusable, faults_of, problems_of

COST = 1_000_000
ORDER = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z]"},
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
    },
    "$defs": {"item": {"type": "object", "properties": {"price": {"type": "number", "minimum": 0}}}},
}


def faults(schema: Any, event: Any, cost: int = COST) -> dict[str, list[str]]:
    raw = event if isinstance(event, bytes) else orjson.dumps(event)
    return faults_of(orjson.dumps(schema), raw, cost)


def test_what_fits_and_what_does_not_by_path() -> None:
    assert problems_of(ORDER) == {}
    assert faults(ORDER, {"name": "Ada", "items": [{"price": 1}, {}]}) == {}
    found = faults(ORDER, {"name": "ada", "items": [{"price": 1}, {"price": "2"}, {"price": -1}], "more": 1})
    assert set(found) == {"name", "items.1.price", "items.2.price", "more"}
    assert list(faults(ORDER, {})) == ["body"]
    assert list(faults(ORDER, 5)) == ["body"]


def test_no_more_faults_than_anybody_reads_and_none_that_repeats_the_event() -> None:
    found = faults({"items": {"type": "string"}}, list(range(1000)))
    assert len(found) == 20
    found = faults({"anyOf": [{"type": "string"}] * 500}, {"a": "x" * 1_000_000})
    assert len(found["body"][0]) < 400
    found = faults({"type": "integer"}, "x" * 1_000_000)
    assert len(found["body"][0]) < 400


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        (True, ""),
        ([], ""),
        ("{}", ""),
        ({"type": "frob"}, "type"),
        ({"properties": {"a": {"minimum": "x"}}}, "properties.a.minimum"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "$schema"),
        ({"$schema": 7}, "$schema"),
        ({"properties": {"a": {"$schema": "http://json-schema.org/draft-07/schema"}}}, "properties.a"),
        ({"$ref": "https://example.com/schema"}, "$ref"),
        ({"$ref": "file:///etc/passwd"}, "$ref"),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "$ref"),
        ({"$ref": "#/$defs/nothing"}, "$ref"),
        ({"items": {"$id": "http://x/y", "$ref": "z"}}, "items.$ref"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties"),
        ({"$dynamicRef": "#x"}, "$dynamicRef"),
        ({"pattern": "(?=x)"}, "pattern"),
        ({"pattern": "("}, "pattern"),
        ({"patternProperties": {"(a)\\1": {}}}, "patternProperties.(a)\\1"),
        # Where nothing looks but a reference.
        ({"$ref": "#/elsewhere", "elsewhere": {"minimum": "x"}}, "elsewhere.minimum"),
        ({"$ref": "#/elsewhere", "elsewhere": {"pattern": "(?!x)"}}, "elsewhere.pattern"),
        ({"$ref": "#/elsewhere/items", "elsewhere": {"items": {"$ref": "http://x"}}}, "elsewhere.items.$ref"),
        ({"description": "a\0b"}, "description"),
        ({"properties": {"a\0": {}}}, "properties"),
        ({"$ref": "#"}, ""),
        ({"allOf": [{"$ref": "#"}]}, ""),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, ""),
    ],
)
def test_what_can_not_be_one(schema: Any, place: str) -> None:
    found = problems_of(schema)
    assert list(found) == [place], found
    assert found[place][0]


def test_depth_is_bounded() -> None:
    schema: Any = {}
    for _ in range(MAX_DEPTH // 2 + 1):
        schema = {"items": schema, "x": 1}
    assert problems_of(schema) == {}
    for _ in range(MAX_DEPTH):
        schema = {"items": schema}
    assert problems_of(schema)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_dialect(dialect: str) -> None:
    for spelled in (dialect, f"{dialect}#"):
        schema = {"$schema": spelled, "properties": {"a": {"type": "string", "minLength": 2}}}
        assert problems_of(schema) == {}
        assert list(faults(schema, {"a": "x"})) == ["a"]


def test_dialects_differ() -> None:
    pair = {"items": [{"type": "string"}, {"type": "integer"}], "additionalItems": False}
    seventh = {"$schema": "http://json-schema.org/draft-07/schema#", **pair}
    assert problems_of(seventh) == {}
    assert faults(seventh, ["a", 1]) == {} and faults(seventh, ["a", 1, 2])
    assert problems_of(pair)


def test_names_that_look_like_keywords_are_names() -> None:
    schema = {"properties": {"$schema": {"type": "string"}, "$ref": {"type": "integer"}, "pattern": {"const": "("}}}
    assert problems_of(schema) == {}
    assert faults(schema, {"$schema": "x", "$ref": 1, "pattern": "("}) == {}
    assert set(faults(schema, {"$schema": 1, "$ref": "x", "pattern": ")"})) == {"$schema", "$ref", "pattern"}


def test_a_circle_through_the_event_is_a_tree() -> None:
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}
    assert problems_of(schema) == {}
    assert faults(schema, {"next": {"next": {}}}) == {}
    assert list(faults(schema, {"next": {"next": {"x": 1}}})) == ["next.next.x"]


def test_ecma_escapes() -> None:
    schema = {"pattern": r"^\u0041\\u\d+$"}
    assert problems_of(schema) == {}
    assert faults(schema, r"A\u12") == {} and faults(schema, "Au12")


# -- what would take for ever


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


DOUBLING = {"items": {"$ref": "#"}, "allOf": [{"items": {"$ref": "#"}}]}


@pytest.mark.parametrize(
    ("schema", "event"),
    [
        pytest.param(DOUBLING, nested(60), id="twice the work with each level"),
        pytest.param({"items": {"$ref": "#"}}, nested(1000), id="deeper than the stack"),
        pytest.param({"items": {"items": {"type": "integer"}}}, [[1] * 1000] * 400, id="many values"),
        pytest.param(
            {"anyOf": [{"additionalProperties": False}] * 400}, {str(n): 1 for n in range(50_000)}, id="names"
        ),
        pytest.param({"uniqueItems": True}, [[n] * 50 for n in range(100_000)], id="unique"),
        pytest.param({"items": {"enum": [[1] * 999 + [2]] * 2}}, [[1] * 999 + [3]] * 5000, id="equality"),
    ],
)
def test_it_is_given_up(schema: Any, event: Any) -> None:
    assert problems_of(schema) == {}
    with pytest.raises(TooCostly):
        faults(schema, event)


def test_no_pattern_takes_more_than_linear_time() -> None:
    # Python's own matcher would need some 2**40 steps for the first forty letters.
    text = "a" * 100_000 + "!"
    for schema in (
        {"pattern": "^(a+)+$"},
        {"patternProperties": {"^(a|a)*$": {}}, "additionalProperties": False},
        {"propertyNames": {"pattern": "^(a*)*$"}},
    ):
        assert problems_of(schema) == {}
        assert faults(schema, text if "pattern" in schema else {text: 1})


def test_a_schema_that_was_never_checked_is_an_answer_and_no_error_of_ours() -> None:
    for schema in (
        {"$ref": "http://127.0.0.1:1/x"},
        {"$ref": "#/nothing"},
        {"minimum": "x"},
        {"type": "frob"},
        {"pattern": "("},
    ):
        with pytest.raises(Unusable):
            faults(schema, {"pattern": "x"}.get(next(iter(schema)), 5))


# -- the same as the library

scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([1.0, 1.5, "", "a", "ab", "1"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
types = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])


def _schemas(inner: Any) -> Any:
    subs = st.lists(inner, min_size=1, max_size=2)
    named = st.dictionaries(st.sampled_from("abc"), inner, max_size=2)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": types | st.lists(types, min_size=1, max_size=3, unique=True),
            "enum": st.lists(values, min_size=1, max_size=3),
            "const": values,
            "minimum": st.integers(-2, 2),
            "minLength": st.integers(0, 2),
            "pattern": st.sampled_from(["a", "^a", "b$", "^[0-9]+$", "."]),
            "uniqueItems": st.booleans(),
            "minItems": st.integers(0, 2),
            "items": inner,
            "prefixItems": subs,
            "contains": inner,
            "properties": named,
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b", "c$"]), inner, max_size=2),
            "additionalProperties": inner,
            "propertyNames": inner,
            "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
            "maxProperties": st.integers(0, 2),
            "dependentRequired": st.dictionaries(st.sampled_from("ab"), st.just(["c"]), max_size=1),
            "dependentSchemas": named,
            "allOf": subs,
            "anyOf": subs,
            "oneOf": subs,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
        },
    )


schemas = _schemas(st.recursive(st.booleans(), _schemas, max_leaves=6))


@settings(max_examples=400, deadline=None)
@given(schema=schemas, value=values)
def test_the_library_agrees(schema: Any, value: Any) -> None:
    assert problems_of(schema) == {}
    library = jsonschema.Draft202012Validator(schema, registry=Registry())
    assert bool(faults(schema, value)) == (not library.is_valid(value))
