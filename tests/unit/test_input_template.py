"""Input templates: what is put where, what is refused, and how large it may become."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers import input_template
from triggers.input_template import TemplateError, TooLarge, compile_template

EVENT: dict[str, Any] = {
    "id": "1",
    "source": "/shop",
    "type": "order.paid",
    "data": {
        "amount": 99.5,
        "paid": True,
        "none": None,
        "note": 'say "hi"\n</b>',
        "a name": {"it's": 1, 'q"': 2},
        "items": [{"sku": "a"}, {"sku": "b"}],
        "<$.id>": "odd",
    },
}


def made(template: Any, event: dict[str, Any] = EVENT, max_bytes: int = 100_000) -> Any:
    return orjson.loads(compile_template(template).render(event, max_bytes))


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("<$.data.amount>", 99.5),
        ("<$.data.paid>", True),
        ("<$.data.none>", None),
        ("<$.data.missing>", None),
        ("<$.data.amount.deeper>", None),
        ("<$.data.items>", EVENT["data"]["items"]),
        ("<$.data.items[0].sku>", "a"),
        ("<$.data.items[-1].sku>", "b"),
        ("<$.data.items[2]>", None),
        ("<$.data.items[-3]>", None),
        ("<$.data.items.sku>", None),
        ("<$.data['a name']>", EVENT["data"]["a name"]),
        (r"<$.data['a name']['it\'s']>", 1),
        ("""<$["data"]["a name"]['q"']>""", 2),
        ("<$>", EVENT),
        ({"whole": "<$>"}, {"whole": EVENT}),
        ("Order <$.id> of <$.source>: <$.data.amount>, <$.data.paid>", "Order 1 of /shop: 99.5, true"),
        ("<$.id><$.id>", "11"),
        ("[<$.data.missing>]", "[]"),
        ("[<$.data.none>]", "[null]"),
        ("<$.data.items>!", '[{"sku":"a"},{"sku":"b"}]!'),
        ("note: <$.data.note>", 'note: say "hi"\n</b>'),
        ({"a": {"b": ["<$.id>", 5, None, True, "text"]}}, {"a": {"b": ["1", 5, None, True, "text"]}}),
        ({"<$.id>": 1}, {"<$.id>": 1}),
        (r"\<$.id>", "<$.id>"),
        (r"\<$.id> <$.id>", "<$.id> 1"),
        ("<b>$.id</b> < > $", "<b>$.id</b> < > $"),
        ("", ""),
        ([], []),
        (5, 5),
        (None, None),
    ],
)
def test_what_is_put_in(template: Any, result: Any) -> None:
    assert made(template) == result


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("<$id>", ""),
        ("<$.>", ""),
        ({"a": "<$..id>"}, "a"),
        ({"a": [1, "x <$.items[*]>"]}, "a[1]"),
        ({"a": {"b": "<$.a-b>"}}, "a.b"),
        ({"a": "<$.items[01]>"}, "a"),
        ({"a": "<$.items[1:2]>"}, "a"),
        ({"a": "<$['a]>"}, "a"),
        ({"a": "<$.a b>"}, "a"),
        ({"a": "<$[?@.x]>"}, "a"),
    ],
)
def test_paths_that_are_none(template: Any, path: str) -> None:
    with pytest.raises(TemplateError) as caught:
        compile_template(template)
    assert caught.value.path == path


def test_templates_are_bounded() -> None:
    with pytest.raises(TemplateError, match="bytes long"):
        compile_template("x" * input_template.MAX_BYTES)
    with pytest.raises(TemplateError, match="places"):
        compile_template(["<$.id>"] * (input_template.MAX_PLACES + 1))
    compile_template(["<$.id>"] * input_template.MAX_PLACES)
    deep: Any = "<$.id>"
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(TemplateError):
        compile_template(deep)
    for _ in range(60):
        deep = deep[0]
    with pytest.raises(TemplateError):
        compile_template(deep)


@pytest.mark.parametrize("template", [["<$.data>"] * 100, "<$.data> " * 100])
def test_what_is_made_of_an_event_is_bounded(template: Any) -> None:
    event = {"data": "x" * 100_000}
    with pytest.raises(TooLarge):
        made(template, event, max_bytes=1_000_000)
    assert made("<$.data>", event, max_bytes=1_000_000) == event["data"]


json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(json_value, st.text(max_size=8))
def test_no_value_breaks_out_of_its_string(value: Any, around: str) -> None:
    event = {"data": value}
    assert made({"a": "<$.data>", "b": 1}, event) == {"a": value, "b": 1}
    text = made({"a": "|<$.data>|", "b": 1}, event)
    assert text == {"a": f"|{value if isinstance(value, str) else orjson.dumps(value).decode()}|", "b": 1}
    if "<" not in around and "\\" not in around:
        assert made(around, event) == around


@given(json_value)
def test_any_json_is_a_template_or_refused(template: Any) -> None:
    try:
        compile_template(template)
    except TemplateError:
        return
    made(template)
