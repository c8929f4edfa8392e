"""Wrong requests to create and update functions: refused with one shape, leaving nothing behind."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from functions.models import Function, FunctionVersion, Package
from nimbus_project.config import config
from tests.integration.plane import ECHO, Api, chunks, refusal

GOOD: dict[str, Any] = {"name": "other", "runtime": "python3.11", "handler": "handler.main", "code": ECHO}
JSON = {"content-type": "application/json"}


@pytest.fixture
def wrong(api: Api) -> Any:
    """Sends a request that must be refused, to create and to update, and sees that nothing has changed."""
    api.create()
    before = _everything()

    def check(status: int, code: str = "", *, only: str = "", **request: Any) -> list[dict[str, Any]]:
        routes = {"create": ("POST", "/functions"), "update": ("PUT", "/functions/hello")}
        answers = [
            refusal(api(method, path, **request), status, code)
            for name, (method, path) in routes.items()
            if only in ("", name)
        ]
        assert _everything() == before
        return answers

    return check


def _everything() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (Function, FunctionVersion, Package)]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"not json",
        b'{"name": "x",}',
        b"{'name': 'x'}",
        b'{"memory_mb": NaN}',
        b'{"memory_mb": 1e400}',
        b'{"description": "\xff\xfe"}',
        b'{"description": "\\ud800"}',
        b'{"description": "\xed\xa0\x80"}',
        b"\xef\xbb\xbf{}",
        b"\0",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"name":' * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_not_json(wrong: Any, body: bytes) -> None:
    wrong(400, "invalid_json", content=body, headers=JSON)


@pytest.mark.parametrize("body", [[], ["x"], "x", 1, 1.5, True, None, [{"name": "x"}]])
def test_json_of_the_wrong_type(wrong: Any, body: Any) -> None:
    for answer in wrong(400, "invalid_request", content=orjson.dumps(body), headers=JSON):
        assert list(answer["details"]) == ["body"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"name=x&runtime=python3.11&handler=a.b&code=x"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nx\r\n--b--\r\n',
        ),
        ("multipart/form-data", b"x"),
        ("text/plain", b"{}"),
        ("application/xml", b"<a/>"),
        ("application/json-patch+json", b"[]"),
        ("garbage", b"{}"),
    ],
)
def test_the_wrong_content_type(wrong: Any, kind: str, body: bytes) -> None:
    wrong(415, "unsupported_media_type", content=body, headers={"content-type": kind})


@pytest.mark.parametrize("kind", [None, "application/json", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_an_empty_body_says_nothing_whatever_its_type(api: Api, kind: str | None) -> None:
    made = api.create(tags=["a"], env_vars={"A": "1"}, pinned=True)["function"]
    headers = {} if kind is None else {"content-type": kind}
    answer = refusal(api.post("/functions", headers=headers), 400, "invalid_request")
    assert {"name", "runtime", "handler"} <= set(answer["details"])
    for content in (b"", chunks(b"")):
        same = api.put("/functions/hello", content=content, headers=headers).json()
        assert same | {"updated_at": made["updated_at"]} == made


def test_nothing_at_all_creates_nothing(wrong: Any) -> None:
    (answer,) = wrong(400, "invalid_request", only="create", json={})
    assert {"name", "runtime", "handler"} <= set(answer["details"])
    assert answer["error"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "x" * 65}, "name"),
        ({"name": "../x"}, "name"),
        ({"name": "naïve"}, "name"),
        ({"name": "a\0"}, "name"),
        ({"name": "a\n"}, "name"),
        ({"runtime": "cobol"}, "runtime"),
        ({"runtime": 3.11}, "runtime"),
    ],
)
def test_a_bad_name_or_runtime(wrong: Any, change: dict[str, Any], field: str) -> None:
    for only, body in {"create": GOOD | change, "update": change}.items():
        (answer,) = wrong(400, "invalid_request", only=only, json=body)
        assert list(answer["details"]) == [field]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"memory_mb": "many"}, "memory_mb"),
        ({"memory_mb": 127}, "memory_mb"),
        ({"memory_mb": 3073}, "memory_mb"),
        ({"memory_mb": True}, "memory_mb"),
        ({"memory_mb": 256.5}, "memory_mb"),
        ({"memory_mb": 10**30}, "memory_mb"),
        ({"memory_mb": -(10**18)}, "memory_mb"),
        ({"timeout_sec": 0}, "timeout_sec"),
        ({"timeout_sec": 301}, "timeout_sec"),
        ({"handler": "main"}, "handler"),
        ({"handler": "../../etc/passwd.x"}, "handler"),
        ({"env_vars": {"A": 1}}, "env_vars.A"),
        ({"env_vars": {"A": "x" * 4096}}, "env_vars"),
        ({"env_vars": {"NIMBUS_TOKEN": "x"}}, "env_vars"),
        ({"env_vars": {"a b": "x"}}, "env_vars"),
        ({"tags": ["a", "b,c"]}, "tags.1"),
        ({"tags": "a"}, "tags"),
        ({"code": None}, "code"),
        ({"code": ""}, "code"),
        ({"code": "a\0b"}, "code"),
        ({"description": "a\0b"}, "description"),
        ({"unknown": 1, "also": 2}, "unknown"),
        ({"": 1}, ""),
        ({"network": "host"}, "network"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_bad_field_is_named(wrong: Any, change: dict[str, Any], field: str) -> None:
    bodies = {"create": GOOD | change, "update": change}
    for only, body in bodies.items():
        (answer,) = wrong(400, "invalid_request", only=only, content=_dumped(body), headers=JSON)
        assert (field or "body") in answer["details"]


def _dumped(body: Any) -> bytes:
    import json

    return json.dumps(body).encode()


@pytest.mark.parametrize("character", ["x", "é", "€", "𝄞"])
def test_source_is_limited_in_bytes(api: Api, character: str) -> None:
    size = len(character.encode())
    code = "#" * (524_288 % size) + character * (524_288 // size)
    made = api.create(code=code)
    assert (made["code_size"], made["code"]) == (524_288, code)
    for method, path, body in (("POST", "/functions", GOOD), ("PUT", "/functions/hello", {})):
        answer = refusal(api(method, path, json=body | {"code": code + "#"}), 400, "invalid_request")
        assert answer["details"] == {"code": ["Is 524289 bytes long; at most 524288 (512 KiB) are allowed."]}
    assert Function.objects.get().latest_version == 1


def test_environment_variables_are_limited_in_bytes(api: Api) -> None:
    api.create(env_vars={"AB": "x" * 4094})
    refusal(api.put("/functions/hello", {"env_vars": {"AB": "x" * 4095}}), 400)
    refusal(api.put("/functions/hello", {"env_vars": {"AB": "x" * 4093, "C": "x"}}), 400)
    assert api.get("/functions/hello").json()["env_vars"] == {"AB": "x" * 4094}


def test_a_body_too_large(wrong: Any) -> None:
    body = b'{"description": "' + b"x" * config().max_request_bytes + b'"}'
    wrong(413, "too_large", content=body, headers=JSON)


def test_a_body_too_large_that_does_not_say_so(api: Api) -> None:
    api.create()
    body = b'{"description": "' + b"x" * config().max_request_bytes + b'"}'
    for method, path in (("POST", "/functions"), ("PUT", "/functions/hello")):
        refusal(api(method, path, content=chunks(body), headers=JSON), 413, "too_large")
    assert Function.objects.get().description == ""


def test_a_body_in_chunks_is_read(api: Api) -> None:
    answer = api.post("/functions", content=chunks(orjson.dumps(GOOD), 7), headers=JSON)
    assert answer.status_code == 201


GARBLED = [
    "limit=-1",
    "limit=abc",
    "limit=1e9",
    "limit=",
    "limit=1.5",
    "offset=-1",
    "offset=x",
    "offset=%00",
    "runtime=cobol",
    "status=sleeping",
    "status=ACTIVE",
    "ordering=size",
    "ordering=--name",
    "ordering=name,runtime",
    "name=%00",
    "tags=%00",
]


@pytest.mark.parametrize(
    "query",
    [*GARBLED, "name=" + "x" * 60_000, "tags=" + ",".join(f"t{n}" for n in range(500))],
    ids=lambda query: query[:30],
)
def test_a_garbled_list_query(api: Api, query: str) -> None:
    answer = refusal(api.get(f"/functions?{query}"), 400, "invalid_request")
    assert list(answer["details"]) == [query.partition("=")[0]]


ODD = [
    "offset=999999999999999999",
    "offset=2147483647&limit=100",
    "name=%F0%9F%A6%80",
    "unknown=1",
    "name=%FF",
    "tags=%FF,%20",
    "include=x",
    "limit=5&limit=6",
]


@pytest.mark.parametrize("query", [*ODD, "tags=" + ",".join(f"t{n}" for n in range(50))])
def test_an_odd_list_query_finds_nothing_worse(api: Api, query: str) -> None:
    assert api.get(f"/functions?{query}").status_code == 200
