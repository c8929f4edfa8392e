"""What can be a destination, and what a report says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from functions.destinations import MAX_ATTRIBUTE, function_of, parse
from invocations.reports.record import EndedRun, record_of
from invocations.retry import GaveUp


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, {}),
        ("", {}),
        ({}, {}),
        ("notify", {"function": "notify"}),
        ("notify:prod", {"function": "notify:prod"}),
        ({"function": "notify:3"}, {"function": "notify:3"}),
        ("https://example.com/hook?x=1", {"url": "https://example.com/hook?x=1"}),
        ({"url": "http://example.com"}, {"url": "http://example.com"}),
        ({"url": "https://a.example", "signing_secret": "KEY"}, {"url": "https://a.example", "signing_secret": "KEY"}),
        ({"url": "https://a.example", "signing_secret": ""}, {"url": "https://a.example"}),
        ({"event": {"type": "order.failed"}}, {"event": {"type": "order.failed"}}),
        (
            {"event": {"type": "a", "source": "/s", "subject": "x"}},
            {"event": {"type": "a", "source": "/s", "subject": "x"}},
        ),
    ],
)
def test_destinations(given: Any, kept: dict[str, Any]) -> None:
    assert parse(given) == kept
    assert parse(kept) == kept, "what is shown can be sent back"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (7, "Must be"),
        ([], "Must be"),
        (True, "Must be"),
        ({"x": 1}, "Must be"),
        ({"function": "a", "url": "https://b.example"}, "Must be"),
        ("no such name!", "name:alias"),
        ("a:b:c", "name:alias"),
        ("a:", "name:alias"),
        ("a\n", "name:alias"),
        ({"function": 3}, "name:alias"),
        ({"function": "a", "more": 1}, "no such field: more"),
        ("ftp://example.com", "https://"),
        ("http://127.0.0.1/x", "not a public address"),
        ("http://user:pw@example.com", "user name"),
        ({"url": 3}, "string"),
        ({"url": "https://a.example", "signing_secret": "no name"}, "secrets"),
        ({"url": "https://a.example", "signing_secret": 3}, "secrets"),
        ({"event": "x"}, "object"),
        ({"event": {}}, "type"),
        ({"event": {"type": ""}}, "type"),
        ({"event": {"type": "a" * (MAX_ATTRIBUTE + 1)}}, "type"),
        ({"event": {"type": "a\0"}}, "printable"),
        ({"event": {"type": "a", "source": 1}}, "source"),
        ({"event": {"type": "a", "id": "x"}}, "no such field: id"),
        ({"event": {"type": "Nimbus.invocation.failed"}}, "platform's own"),
        ({"workflow": 3}, "by its name"),
        ({"workflow": "w:3"}, "by its name"),
        ({"workflow": "w\n"}, "by its name"),
        ({"workflow": "w", "function": "f"}, "Must be"),
        ({"workflow": "w", "alias": "prod"}, "no such field"),
    ],
)
def test_what_is_none(given: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse(given)


def test_the_name_of_the_function() -> None:
    assert [function_of(parse(given)) for given in ("a:prod", "a", "https://a.example", None)] == ["a", "a", "", ""]


# -- the record

GOOD: dict[str, Any] = {
    "invocation_id": "i",
    "request_id": "r",
    "function_id": "f",
    "function_name": "resize",
    "version": 3,
    "trigger_type": "async",
    "hops": 0,
    "attempts": 1,
    "status": "success",
    "gave_up": "",
    "event": b'{"n": 1}',
    "result": b'{"done": true}',
    "ended_at": "2026-01-31T12:00:00.000Z",
}
BAD = GOOD | {
    "status": "failed",
    "gave_up": GaveUp.RETRIES_EXHAUSTED,
    "attempts": 3,
    "result": None,
    "error": "no",
    "error_type": "ValueError",
    "stack_trace": ["line 1"],
    "alias": "prod",
    "environment": "staging",
}


def record(max_bytes: int = 10_000, **run: Any) -> Any:
    text = record_of(EndedRun(**run), max_bytes)
    assert len(text) <= max_bytes
    return json.loads(text)


def test_of_a_success() -> None:
    assert record(**GOOD) == {
        "version": "1.0",
        "timestamp": "2026-01-31T12:00:00.000Z",
        "requestContext": {
            "requestId": "r",
            "functionArn": "arn:nimbus:lambda:::function:resize:3",
            "condition": "Success",
            "approximateInvokeCount": 1,
            "invocationId": "i",
            "functionId": "f",
            "functionName": "resize",
            "functionVersion": 3,
            "triggerType": "async",
            "hops": 0,
        },
        "requestPayload": {"n": 1},
        "responseContext": {"statusCode": 200, "executedVersion": "3"},
        "responsePayload": {"done": True},
    }


def test_of_a_failure() -> None:
    told = record(**BAD)
    context = told["requestContext"]
    assert (context["condition"], context["approximateInvokeCount"]) == ("RetriesExhausted", 3)
    assert (context["functionArn"], context["alias"]) == ("arn:nimbus:lambda:::function:resize:prod", "prod")
    assert context["environment"] == "staging"
    assert told["responseContext"] == {"statusCode": 200, "executedVersion": "3", "functionError": "Unhandled"}
    assert told["responsePayload"] == {"errorMessage": "no", "errorType": "ValueError", "stackTrace": ["line 1"]}


@pytest.mark.parametrize("reason", list(GaveUp))
def test_every_reason_has_a_condition(reason: GaveUp) -> None:
    condition = record(**BAD | {"gave_up": reason})["requestContext"]["condition"]
    assert condition.lower() == reason.value.replace("_", "")


def test_a_result_of_nothing_is_null() -> None:
    assert record(**GOOD | {"result": b"null"})["responsePayload"] is None


@pytest.mark.parametrize(
    ("event_bytes", "result_bytes", "left_out"),
    [(100, 100, None), (9_000, 500, ["requestPayload"]), (500, 9_000, ["responsePayload"])],
)
def test_what_is_too_large_goes_without_its_larger_half(
    event_bytes: int, result_bytes: int, left_out: list[str] | None
) -> None:
    told = record(4_000, **GOOD | {"event": b'"%s"' % (b"x" * event_bytes), "result": b'"%s"' % (b"y" * result_bytes)})
    assert told.get("truncated") == left_out
    assert (told["requestPayload"] is None) == ("requestPayload" in (left_out or []))


def test_both_when_they_must() -> None:
    told = record(4_000, **GOOD | {"event": b'"%s"' % (b"x" * 9_000), "result": b'"%s"' % (b"y" * 8_000)})
    assert told["truncated"] == ["requestPayload", "responsePayload"]
    assert told["requestPayload"] is told["responsePayload"] is None
