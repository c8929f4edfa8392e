"""What functions get of HTTP requests, and what callers get of what functions answer."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.cors import allows, preflight, with_cors
from triggers.http_answers import MAX_HEADERS, BadAnswer, Passed, passed_through
from triggers.http_events import headers_shape, query_shape, route_frame, webhook_event

JSON = b"application/json"


def webhook(body: bytes, content_type: bytes = JSON, *, raw_json: bool = False) -> dict[str, Any]:
    headers = [(b"content-type", content_type)] if content_type else []
    event: dict[str, Any] = orjson.loads(webhook_event(headers, b"", body, raw_json=raw_json))
    return event


def route(body: bytes, content_type: bytes = b"", **more: Any) -> dict[str, Any]:
    headers = [(b"content-type", content_type)] if content_type else []
    event: dict[str, Any] = orjson.loads(route_frame("POST", "/a/7", {"id": "7"}, headers, b"x=1", **more).event(body))
    return event


def passed(**result: Any) -> Passed:
    return passed_through(orjson.dumps({"statusCode": 200} | result))


# -- events


def test_an_event_of_a_webhook() -> None:
    headers = [(b"x-a", b"1"), (b"x-a", b"2"), (b"content-type", b"application/json; charset=utf-8")]
    event = orjson.loads(webhook_event(headers, b"a=1&b=&c=%C3%A4", b'{"n":1.0}', raw_json=False))
    assert event == {
        "source": "webhook",
        "method": "POST",
        "headers": {"x-a": "1, 2", "content-type": "application/json; charset=utf-8"},
        "query": {"a": "1", "b": "", "c": "ä"},
        "body": {"n": 1.0},
    }


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"", JSON, {"body": None}),
        (b"", b"", {"body": None}),
        (b"null", JSON, {"body": None}),
        (b'"\\u0000"', JSON, {"body": "\0"}),
        (b"[1]", b"application/cloudevents+json", {"body": [1]}),
        (b"[1]", b"", {"body": [1]}),
        (b"[1]", b"text/plain", {"body": "[1]"}),
        (b"a=1&b=2", b"application/x-www-form-urlencoded", {"body": "a=1&b=2"}),
        (b"<a/>", b"image/svg+xml", {"body": "<a/>"}),
        (b"{not json", JSON, {"body": "{not json"}),
        (b'{"a":NaN}', JSON, {"body": '{"a":NaN}'}),
        (b"\xff\x00", JSON, {"body": None, "raw_body_base64": "/wA="}),
        (b"plain", b"application/octet-stream", {"body": None, "raw_body_base64": "cGxhaW4="}),
        (b"--b\r\n", b"multipart/form-data; boundary=b", {"body": None, "raw_body_base64": "LS1iDQo="}),
    ],
)
def test_the_body_of_a_webhook(body: bytes, content_type: bytes, expected: dict[str, Any]) -> None:
    event = webhook(body, content_type)
    assert {key: event[key] for key in ("body", "raw_body_base64") if key in event} == expected


def test_the_bytes_go_with_json_for_whoever_checks_them_in_the_code() -> None:
    body = b'{ "b": 1,\n"a":2 }'
    event = webhook(body, raw_json=True)
    assert event["body"] == {"a": 2, "b": 1}
    assert base64.b64decode(event["raw_body_base64"]) == body


@given(st.binary(max_size=200), st.sampled_from([JSON, b"", b"text/plain", b"image/png"]), st.booleans())
def test_no_body_breaks_an_event(body: bytes, content_type: bytes, raw_json: bool) -> None:
    assert webhook(body, content_type, raw_json=raw_json)["source"] == "webhook"
    event = route(body, content_type)
    text = event["body"] or ""
    assert (base64.b64decode(text) if event["isBase64Encoded"] else text.encode()) == body


def test_an_event_of_a_route() -> None:
    assert route("grüß".encode(), b"text/plain") == {
        "httpMethod": "POST",
        "path": "/a/7",
        "pathParameters": {"id": "7"},
        "query": {"x": "1"},
        "headers": {"content-type": "text/plain"},
        "body": "grüß",
        "isBase64Encoded": False,
    }
    assert route(b"\x89PNG", b"image/png")["body"] == "iVBORw=="
    assert route(b"")["body"] is None


def test_names_that_are_there_several_times() -> None:
    assert query_shape(b"a=1&a=2&b=3") == {
        "query": {"a": "2", "b": "3"},
        "multiValueQuery": {"a": ["1", "2"], "b": ["3"]},
    }
    assert headers_shape([(b"cookie", b"a=1"), (b"cookie", b"b=2")]) == {"cookie": "a=1; b=2"}


def test_cookies_of_the_console_are_kept_back() -> None:
    assert headers_shape([(b"cookie", b"a=1; sessionid=secret;csrftoken=secret ; b=2")]) == {"cookie": "a=1; b=2"}
    assert headers_shape([(b"cookie", b"sessionid=secret")]) == {}
    assert headers_shape([(b"cookie", b"csrftoken =x;a")]) == {"cookie": "a"}


def test_they_are_the_consoles() -> None:
    from django.conf import settings

    from triggers.http_events import CONSOLE_COOKIES

    assert {settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME} == CONSOLE_COOKIES


def test_headers_can_be_hidden() -> None:
    headers = [(b"authorization", b"Bearer nmb_x"), (b"accept", b"*/*")]
    event = orjson.loads(route_frame("GET", "/a", {}, headers, b"", hidden=frozenset({b"authorization"})).event(b""))
    assert event["headers"] == {"accept": "*/*"}


# -- answers


@pytest.mark.parametrize(
    "output",
    [
        b"null",
        b"7",
        b'"statusCode"',
        b'{"a":1}',
        b'[{"statusCode":500}]',
        b'{"a":{"statusCode":500}}',
        b'{"statusCode":"200"}',
        b'{"statusCode":true}',
        b'{"statusCode":200.5}',
        b'{"statusCode":null}',
    ],
)
def test_a_result_without_a_status_is_itself(output: bytes) -> None:
    assert passed_through(output) == Passed(200, ((b"content-type", b"application/json"),), output)


@pytest.mark.parametrize(
    ("result", "body", "content_type"),
    [
        ({"body": "hi"}, b"hi", b"text/plain; charset=utf-8"),
        ({"body": "hi", "headers": {"Content-Type": "text/html"}}, b"hi", b"text/html"),
        ({"body": {"a": 1}}, b'{"a":1}', b"application/json"),
        ({"body": [1]}, b"[1]", b"application/json"),
        ({"body": 7}, b"7", b"application/json"),
        ({"body": "iVBORw==", "isBase64Encoded": True}, b"\x89PNG", b"application/octet-stream"),
        ({"body": "iVBORw==", "isBase64Encoded": False}, b"iVBORw==", b"text/plain; charset=utf-8"),
        ({"body": "\udce9".encode("utf-8", "replace").decode()}, b"?", b"text/plain; charset=utf-8"),
    ],
)
def test_bodies(result: dict[str, Any], body: bytes, content_type: bytes) -> None:
    found = passed(**result)
    assert (found.body, dict(found.headers)[b"content-type"]) == (body, content_type)


def test_no_body_has_no_type() -> None:
    assert passed() == Passed(200, (), b"")
    assert passed(body=None) == Passed(200, (), b"")


@pytest.mark.parametrize("status", [204, 205, 304])
def test_statuses_that_have_no_body(status: int) -> None:
    found = passed(statusCode=status, body="dropped", headers={"X-A": "1"})
    assert (found.body, found.has_body) == (b"", False)
    assert (b"x-a", b"1") in found.headers


def test_headers_and_cookies() -> None:
    found = passed(
        headers={
            "X-Text": "a",
            "X-Number": 7,
            "X-Flag": True,
            "X-None": None,
            "X-List": ["1", "2"],
            "Set-Cookie": "a=1",
        },
        multiValueHeaders={"X-Many": ["1", "2"], "x-text": ["b"]},
        cookies=["b=2; HttpOnly", "c=3"],
    )
    assert found.headers == (
        (b"x-text", b"b"), (b"x-number", b"7"), (b"x-flag", b"true"), (b"x-list", b"1"), (b"x-list", b"2"),
        (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2; HttpOnly"), (b"set-cookie", b"c=3"), (b"x-many", b"1"),
        (b"x-many", b"2"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "1"},
        {"content-length": "0", "CONTENT-LENGTH": "9"},
        {"Transfer-Encoding": "chunked"},
        {"Connection": "close, x-secret", "X-Secret": "1"},
        {"Keep-Alive": "1", "Upgrade": "h2c", "TE": "trailers", "Trailer": "x", "Proxy-Authenticate": "x"},
        {"Date": "x", "Server": "x", "X-Request-Id": "x"},
        {
            "Alt-Svc": 'h3=":443"',
            "Clear-Site-Data": "*",
            "Strict-Transport-Security": "x",
            "Service-Worker-Allowed": "/",
        },
        {"X-A": "a\r\nSet-Cookie: b=1"},
        {"X-A": "a\nb"},
        {"X-A": "a\rb"},
        {"X-A": "a\0b"},
        {"X-A": "a\x7f"},
        {"Set-Cookie": "sessionid=stolen"},
        {"Set-Cookie": " csrftoken = x; Path=/"},
    ],
)
def test_headers_that_are_not_the_functions_to_give(headers: dict[str, str]) -> None:
    assert passed(headers=headers).headers == ()
    assert passed(multiValueHeaders={name: [value] for name, value in headers.items()}).headers == ()


def test_one_content_type() -> None:
    found = passed(body="x", multiValueHeaders={"Content-Type": ["text/a", "text/b"]})
    assert found.headers == ((b"content-type", b"text/a"),)


def test_text_that_is_not_ascii_goes_as_utf8() -> None:
    assert passed(headers={"X-A": "grüß"}).headers == ((b"x-a", "grüß".encode()),)


@pytest.mark.parametrize(
    "result",
    [
        {"statusCode": 99},
        {"statusCode": 101},
        {"statusCode": 199},
        {"statusCode": 600},
        {"statusCode": -1},
        {"headers": []},
        {"headers": "a: b"},
        {"headers": {"X-A": {"b": 1}}},
        {"headers": {"X A": "1"}},
        {"headers": {"": "1"}},
        {"headers": {"X-A\r\n": "1"}},
        {"headers": {"X:A": "1"}},
        {"multiValueHeaders": {"X-A": [["1"]]}},
        {"cookies": "a=1"},
        {"cookies": [1, {}]},
        {"body": "not base64", "isBase64Encoded": True},
        {"body": "iVBORw", "isBase64Encoded": True},
        {"body": {}, "isBase64Encoded": True},
        {"headers": {f"X-{n}": "1" for n in range(MAX_HEADERS + 1)}},
        {"headers": {"X-A": "a" * 70_000}},
    ],
)
def test_answers_that_cannot_be_sent(result: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        passed(**result)


def test_half_a_surrogate_pair_cannot_be_sent() -> None:
    with pytest.raises(BadAnswer):
        passed_through(b'{"statusCode":200,"body":"\\ud800"}')


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=10,
)
fields = st.sampled_from(["headers", "multiValueHeaders", "cookies", "body", "isBase64Encoded", "statusCode"])


@given(st.dictionaries(fields, json, max_size=6), st.integers(150, 650))
def test_whatever_a_function_answers_is_sent_safely_or_refused(result: dict[str, Any], status: int) -> None:
    try:
        found = passed_through(orjson.dumps({"statusCode": status} | result))
    except BadAnswer:
        return
    assert 200 <= found.status <= 599
    for name, value in found.headers:
        assert name and not set(b"\r\n\0: ") & set(name)
        assert not set(b"\r\n\0") & set(value)
        assert name not in (b"content-length", b"transfer-encoding", b"connection")


# -- CORS

APP = {"allow_origins": ["https://app.example"]}
ALL = {"allow_origins": ["*"]}


@pytest.mark.parametrize(
    ("cors", "origin", "expected"),
    [
        (APP, "https://app.example", True),
        (APP, "HTTPS://APP.EXAMPLE", True),
        (APP, "https://app.example:8443", False),
        (APP, "http://app.example", False),
        (APP, "https://app.example.evil", False),
        (APP, "https://evil.app.example", False),
        (APP, "null", False),
        (APP, "", False),
        (ALL, "https://x", True),
        (ALL, "null", True),
        (ALL, "", False),
        ({}, "https://x", False),
    ],
)
def test_which_origins_may_call(cors: dict[str, Any], origin: str, expected: bool) -> None:
    assert allows(cors, origin) is expected


def test_a_preflight() -> None:
    cors = APP | {"allow_credentials": True, "max_age": 600, "allow_headers": ["x-a", "x-b"]}
    assert dict(preflight(cors, ("GET", "POST"), "https://app.example", "x-a")) == {
        b"access-control-allow-origin": b"https://app.example",
        b"access-control-allow-credentials": b"true",
        b"access-control-allow-methods": b"GET, POST",
        b"access-control-allow-headers": b"x-a, x-b",
        b"access-control-max-age": b"600",
        b"vary": b"origin",
    }


def test_headers_that_are_not_named_are_all_allowed() -> None:
    for cors in (ALL, ALL | {"allow_headers": ["*"]}):
        found = dict(preflight(cors, ("GET",), "https://x", "x-a, content-type"))
        assert found[b"access-control-allow-headers"] == b"x-a, content-type"
        assert found[b"access-control-allow-origin"] == b"*"
    assert b"access-control-allow-headers" not in dict(preflight(ALL | {"allow_headers": []}, ("GET",), "x", "x-a"))


def test_no_method_is_promised_that_the_route_has_not() -> None:
    cors = ALL | {"allow_methods": ["GET", "DELETE"]}
    assert dict(preflight(cors, ("GET", "POST"), "https://x", ""))[b"access-control-allow-methods"] == b"GET"


def test_what_the_route_says_stands_in_place_of_what_the_function_says() -> None:
    given_ = ((b"access-control-allow-origin", b"*"), (b"access-control-allow-credentials", b"true"), (b"x-a", b"1"))
    allowed_ = ((b"x-a", b"1"), (b"access-control-allow-origin", b"https://app.example"), (b"vary", b"origin"))
    assert with_cors(given_, APP, "https://app.example") == allowed_
    assert with_cors(given_, APP, "https://evil.example") == ((b"x-a", b"1"), (b"vary", b"origin"))
    assert with_cors(given_, ALL, "https://x") == ((b"x-a", b"1"), (b"access-control-allow-origin", b"*"))
