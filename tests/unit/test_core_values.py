"""Ids, pages, error trees, log lines, strict JSON."""

from __future__ import annotations

import logging
import time
import uuid
from datetime import datetime
from typing import Any

import orjson
import pytest
from rest_framework.exceptions import ErrorDetail

from nimbus_project.core.errors import InvalidJson, InvalidRequest
from nimbus_project.core.exception_handler import flatten
from nimbus_project.core.ids import as_uuid, new_id, sane_request_id
from nimbus_project.core.logging import JsonFormatter, request_id_var
from nimbus_project.core.pagination import MAX_OFFSET, Page, page_from
from nimbus_project.core.parsers import parse_json

# -- ids


def test_new_ids_are_uuid_7_of_now_and_all_different() -> None:
    before = time.time_ns() // 1_000_000
    made = [new_id() for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert len(set(made)) == 1000
    for value in made:
        assert (value.version, value.variant) == (7, uuid.RFC_4122)
        assert before <= value.int >> 80 <= after


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("01890a5d-ac96-774b-bcce-b302099a8057", True),
        ("01890A5D-AC96-774B-BCCE-B302099A8057", True),
        ("01890a5dac96774bbcceb302099a8057", False),  # 32 characters: could be a name
        ("{01890a5d-ac96-774b-bcce-b302099a8057}", False),
        ("01890a5d-ac96-774b-bcce-b302099a805", False),
        ("01890a5d-ac96-774b-bcce-b302099a805g", False),
        ("x" * 36, False),
        ("", False),
    ],
)
def test_what_spells_a_uuid(text: str, ok: bool) -> None:
    assert (as_uuid(text) is not None) is ok


@pytest.mark.parametrize(
    ("text", "sane"),
    [
        ("abc-1.2_3:/+=", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("", False),
        (None, False),
        ("a b", False),
        ("a\n", False),  # a line of its own in a log
        ("a\r\nSet-Cookie: x", False),
        ("ä", False),
        ("a\0", False),
        ('a"', False),
    ],
)
def test_which_request_ids_are_kept(text: str | None, sane: bool) -> None:
    assert sane_request_id(text) == (text if sane else None)


# -- pages


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ({}, Page(0, 20)),
        ({"limit": "1", "offset": "7"}, Page(7, 1)),
        ({"limit": "0"}, Page(0, 0)),
        ({"limit": "100"}, Page(0, 100)),
        ({"limit": "101"}, Page(0, 100)),
        ({"limit": "007"}, Page(0, 7)),
        ({"offset": "999999999999999999"}, Page(MAX_OFFSET, 20)),  # what a database can still count to
    ],
)
def test_offset_and_limit(query: dict[str, str], page: Page) -> None:
    assert page_from(query) == page


@pytest.mark.parametrize("name", ["limit", "offset"])
@pytest.mark.parametrize("value", ["-1", "abc", "1e9", "1.0", "", " 1", "+1", "0x10", "٣", "²", "1" * 19, "\0"])
def test_anything_else_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        page_from({name: value})
    assert list(caught.value.details or ()) == [name]
    assert caught.value.message == f"{name} must be a non-negative integer."


def test_the_shape_of_a_list() -> None:
    assert Page(5, 2).answer("functions", (), 9, next_cursor="c") == {
        "functions": [], "total": 9, "offset": 5, "limit": 2, "next_cursor": "c",
    }  # fmt: skip


# -- error trees


@pytest.mark.parametrize(
    ("tree", "flat"),
    [
        ({"name": ["a", "b"]}, {"name": ["a", "b"]}),
        ({"non_field_errors": ["a"]}, {"body": ["a"]}),
        (["a"], {"body": ["a"]}),
        (ErrorDetail("a"), {"body": ["a"]}),
        ({"tags": {0: ["a"], 2: ["b"]}}, {"tags.0": ["a"], "tags.2": ["b"]}),
        ({"env_vars": {"A B": ["a"]}}, {"env_vars.A B": ["a"]}),
        ({"items": [{}, {"x": ["a"]}]}, {"items.1.x": ["a"]}),
        ({"a": {"non_field_errors": ["x"], "b": ["y"]}}, {"a": ["x"], "a.b": ["y"]}),
        ({"a": "x"}, {"a": ["x"]}),
    ],
)
def test_error_trees_become_flat(tree: Any, flat: dict[str, list[str]]) -> None:
    assert flatten(tree) == flat


# -- log lines


def _line(**changes: Any) -> dict[str, Any]:
    record = logging.makeLogRecord(
        {"name": "nimbus.x", "levelname": "INFO", "msg": "did %s", "args": ("it",)} | changes
    )
    text = JsonFormatter().format(record)
    assert "\n" not in text
    parsed: dict[str, Any] = orjson.loads(text)
    return parsed


def test_a_log_line_has_its_fields() -> None:
    line = _line()
    assert {"level": "info", "logger": "nimbus.x", "event": "did it"}.items() <= line.items()
    assert datetime.fromisoformat(line["timestamp"]).utcoffset() is not None
    assert "request_id" not in line


def test_a_log_line_has_the_request_id_of_its_context() -> None:
    token = request_id_var.set("r-1")
    try:
        assert _line()["request_id"] == "r-1"
    finally:
        request_id_var.reset(token)


class _Strange:
    def __str__(self) -> str:
        return "strange"


@pytest.mark.parametrize(
    ("extra", "shown"),
    [
        ({"worker_id": "w"}, {"worker_id": "w"}),
        ({"thing": _Strange()}, {"thing": "strange"}),
        ({"thing": {1: "a"}}, {"thing": {"1": "a"}}),
        ({"thing": 2**70}, {}),  # what JSON cannot hold must not cost the line
        ({"thing": "\ud800"}, {}),
        ({"msg": "line\nbreak", "args": ()}, {"event": "line\nbreak"}),
    ],
)
def test_whatever_comes_as_extra_is_one_line_of_json(extra: dict[str, Any], shown: dict[str, Any]) -> None:
    assert shown.items() <= _line(**extra).items()


def test_an_exception_goes_into_its_line() -> None:
    try:
        raise ValueError("lone \ud800 surrogate")
    except ValueError as error:
        line = _line(exc_info=(ValueError, error, error.__traceback__))
    assert "ValueError" in line["exception"]


# -- strict JSON


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}x",
        b"nan",
        b"NaN",
        b"Infinity",
        b"1e400",
        b"{'a': 1}",
        b"{a: 1}",
        b"[1,]",
        b'"\xff"',
        b'"\\ud800"',
        b'"\xed\xa0\x80"',
        b'"\n"',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"\0",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_hostile_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        parse_json(body)


@pytest.mark.parametrize("body", [b"1", b'"x"', b"null", b"[]", b' {"a": "\\u0000"} ', b"[" * 1000 + b"]" * 1000])
def test_any_json_value_is_json(body: bytes) -> None:
    parse_json(body)
