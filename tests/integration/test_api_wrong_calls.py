"""Wrong requests to call functions: refused with one shape, nothing stored."""

from __future__ import annotations

from typing import Any

import pytest

from invocations.models import IdempotencyKey, Invocation
from nimbus_project.config import config
from nimbus_project.core import fleet, redis
from nimbus_project.core.ids import new_id
from tests.integration.plane import Api, chunks, refusal

JSON = {"content-type": "application/json"}
ROUTES = ("invoke", "async")


@pytest.fixture(params=ROUTES)
def wrong(request: pytest.FixtureRequest, api: Api) -> Any:
    """Sends a call that must be refused, and sees that nothing was stored or sent."""
    api.create()
    fleet.announce(
        redis.connection(), fleet.WorkerState(id="w", node="n", pid=1, driver="process", started_at=0.0, threads=1)
    )

    def check(status: int, code: str = "", *, query: str = "", **more: Any) -> dict[str, Any]:
        body = refusal(api.post(f"/functions/hello/{request.param}{query}", **more), status, code)
        assert not Invocation.objects.exists()
        assert not IdempotencyKey.objects.exists()
        assert redis.connection().llen("sync") == redis.connection().llen("async") == 0
        return body

    check.route = request.param  # type: ignore[attr-defined]
    return check


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"not json",
        b"{'a': 1}",
        b'{"a": NaN}',
        b"1e400",
        b'"\xff"',
        b'"\\ud800"',
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        b"\0",
        b" ",
        b"a=1&b=2",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:20]),
)
@pytest.mark.parametrize("headers", [JSON, {}], ids=["json", "untyped"])
def test_an_event_that_is_not_json(wrong: Any, body: bytes, headers: dict[str, str]) -> None:
    wrong(400, "invalid_json", content=body, headers=headers)


@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "application/xml",
     "application/jsonp", "application/octet-stream", "garbage", "text/json"],
)  # fmt: skip
def test_an_event_of_another_type(wrong: Any, kind: str) -> None:
    wrong(415, "unsupported_media_type", content=b"{}", headers={"content-type": kind})


def test_an_event_of_7_mb(wrong: Any) -> None:
    event = b'"' + b"x" * 7 * 1024 * 1024 + b'"'
    wrong(413, "too_large", content=event, headers=JSON)
    wrong(413, "too_large", content=chunks(event), headers=JSON)
    wrong(413, "too_large", content=event, headers=JSON | {"content-length": "7"})


def test_an_event_as_large_as_allowed(api: Api) -> None:
    api.create()
    limit = config().max_event_bytes
    for size, status in ((limit, 202), (limit + 1, 413)):
        event = b'"' + b"x" * (size - 2) + b'"'
        assert api.post("/functions/hello/async", content=event, headers=JSON).status_code == status
        assert api.post("/functions/hello/async", content=chunks(event), headers=JSON).status_code == status


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("version=x", 400, "invalid_request"),
        ("version=-1", 400, "invalid_request"),
        ("version=1.0", 400, "invalid_request"),
        ("version=%00", 400, "invalid_request"),
        ("version=1e3", 400, "invalid_request"),
        ("version=" + "9" * 50, 400, "invalid_request"),
        ("version=%D9%A3", 400, "invalid_request"),  # an Arabic 3
        ("version=0", 404, "version_not_found"),
        ("version=2", 404, "version_not_found"),
        ("version=99999", 404, "version_not_found"),
        ("version=999999999", 404, "version_not_found"),
        ("alias=unknown", 404, "alias_not_found"),
        ("alias=%00", 404, "alias_not_found"),
        ("alias=" + "x" * 5000, 404, "alias_not_found"),
        ("alias=latest&version=1", 400, "invalid_request"),
        ("session_key=" + "x" * 257, 400, "invalid_request"),
        ("session_key=a%00", 400, "invalid_request"),
        ("session_key=a%0Ab", 400, "invalid_request"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_choice_that_is_none(wrong: Any, query: str, status: int, code: str) -> None:
    wrong(status, code, query=f"?{query}", json={})


@pytest.mark.parametrize("delay", ["-1", "abc", "86401", "1e3", "1.5", "", "%00", "9" * 30, "NaN", "inf", "٣"])
def test_a_delay_that_is_none(api: Api, delay: str) -> None:
    api.create()
    refusal(api.post(f"/functions/hello/async?delay_sec={delay}", {}), 400, "invalid_request")
    assert not Invocation.objects.exists()


@pytest.mark.parametrize("delay", ["0", "1", "86400", "007"])
def test_a_delay_that_is_one(api: Api, delay: str) -> None:
    api.create()
    assert api.post(f"/functions/hello/async?delay_sec={delay}", {}).status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        {"x-nimbus-session": "x" * 257},
        {"x-nimbus-session": "a\x7f"},
        {"idempotency-key": "x" * 256},
        {"idempotency-key": "\x01"},
    ],
    ids=lambda headers: repr(headers)[:40],
)
def test_a_header_that_is_none(wrong: Any, headers: dict[str, str]) -> None:
    wrong(400, "invalid_request", json={}, headers=headers)


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"\\u0000"', b"[" * 1000 + b"]" * 1000, b'{"a": 1e300}'])
def test_any_json_is_an_event_that_can_be_read_back(api: Api, body: bytes) -> None:
    api.create()
    accepted = api.post("/functions/hello/async", content=body, headers=JSON)
    assert accepted.status_code == 202
    for path in (f"/invocations/{accepted.json()['invocation_id']}", "/invocations"):
        answer = api.get(path)
        assert answer.status_code == 200, answer.text
        assert b'"input":' + (body or b"{}") in answer.content


def test_nobodys_call_reads_no_body(api: Api) -> None:
    event = b'"' + b"x" * 7 * 1024 * 1024 + b'"'
    refusal(api.post(f"/functions/{new_id()}/invoke", content=event, headers=JSON), 404, "function_not_found")
