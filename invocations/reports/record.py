"""What a report says: the record that AWS Lambda sends to the destinations of asynchronous invocations
(docs.aws.amazon.com/lambda, "Capturing records of Lambda asynchronous invocations"), with Nimbus's own names beside it.
Pure.

    {"version": "1.0", "timestamp": …,
     "requestContext": {"requestId", "functionArn", "condition", "approximateInvokeCount",
                        "invocationId", "functionId", "functionName", "functionVersion", "alias"*, "environment"*,
                        "triggerType", "hops"},
     "requestPayload": <the event>,
     "responseContext": {"statusCode", "executedVersion", "functionError"*},
     "responsePayload": <the result, or {"errorMessage", "errorType", "stackTrace"}>,
     "truncated"*: ["requestPayload", "responsePayload"]}

`condition` is ``Success``, ``RetriesExhausted``, ``EventAgeExceeded``, ``WorkersLost`` or ``FunctionDeleted``. A record
that would be larger than an event may be goes without its larger payload, then without both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from invocations.outcome import Status
from invocations.retry import GaveUp

_CONDITIONS = {
    GaveUp.RETRIES_EXHAUSTED: "RetriesExhausted",
    GaveUp.EVENT_AGE_EXCEEDED: "EventAgeExceeded",
    GaveUp.WORKERS_LOST: "WorkersLost",
    GaveUp.FUNCTION_DELETED: "FunctionDeleted",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """What a record is made of."""

    invocation_id: str
    request_id: str
    function_id: str
    function_name: str
    version: int
    alias: str = ""
    environment: str = ""
    trigger_type: str
    hops: int
    attempts: int
    status: str
    gave_up: str
    event: bytes
    result: bytes | None
    error: str = ""
    error_type: str = ""
    stack_trace: list[str] = field(default_factory=list)
    ended_at: str
    """RFC 3339, UTC, milliseconds."""


def record_of(run: EndedRun, max_bytes: int) -> bytes:
    """JSON text of at most `max_bytes`."""
    payloads = {"requestPayload": run.event, "responsePayload": _response(run)}
    truncated: list[str] = []
    while True:
        text = orjson.dumps(_document(run, payloads, truncated))
        left = {name: data for name, data in payloads.items() if name not in truncated}
        if len(text) <= max_bytes or not left:
            return text
        truncated.append(max(left, key=lambda name: len(left[name])))


def _document(run: EndedRun, payloads: dict[str, bytes], truncated: list[str]) -> dict[str, Any]:
    shown = {name: None if name in truncated else orjson.Fragment(data) for name, data in payloads.items()}
    document = {
        "version": "1.0",
        "timestamp": run.ended_at,
        "requestContext": _context(run),
        "requestPayload": shown["requestPayload"],
        "responseContext": _response_context(run),
        "responsePayload": shown["responsePayload"],
    }
    return document | ({"truncated": sorted(truncated)} if truncated else {})


def _context(run: EndedRun) -> dict[str, Any]:
    qualifier = run.alias or str(run.version)
    context = {
        "requestId": run.request_id,
        "functionArn": f"arn:nimbus:lambda:::function:{run.function_name}:{qualifier}",
        "condition": _CONDITIONS[GaveUp(run.gave_up)] if run.gave_up else "Success",
        "approximateInvokeCount": run.attempts,
        "invocationId": run.invocation_id,
        "functionId": run.function_id,
        "functionName": run.function_name,
        "functionVersion": run.version,
        "triggerType": run.trigger_type,
        "hops": run.hops,
    }
    more = {"alias": run.alias, "environment": run.environment}
    return context | {name: value for name, value in more.items() if value}


def _response_context(run: EndedRun) -> dict[str, Any]:
    # As Lambda has it: the call itself was answered, whatever the function did.
    context = {"statusCode": 200, "executedVersion": str(run.version)}
    return context if run.status == Status.SUCCESS else context | {"functionError": "Unhandled"}


def _response(run: EndedRun) -> bytes:
    if run.status == Status.SUCCESS:
        return run.result or b"null"
    error = {"errorMessage": run.error, "errorType": run.error_type, "stackTrace": run.stack_trace}
    return orjson.dumps(error)
