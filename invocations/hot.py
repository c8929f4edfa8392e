"""The routes that asgi.py answers before Django's handler: invoke and async. Parse, authorise, sync or async."""

from __future__ import annotations

import logging
import random
from uuid import UUID

from functions import directory, input_schema
from functions.directory import LiveFunction
from invocations import answer, hops, idempotency, services
from invocations.calls import CallDesk
from invocations.record import RunRecord
from invocations.services import NewInvocation
from nimbus_project.config import config
from nimbus_project.core.errors import InvalidRequest, UnsupportedMediaType
from nimbus_project.core.http import HttpAnswer, HttpRequest, error_answer, json_answer
from nimbus_project.core.ids import as_uuid, new_id
from nimbus_project.core.parsers import parse_json

log = logging.getLogger("nimbus.invoke")

MAX_SESSION_KEY = 256


async def invoke(request: HttpRequest, desk: CallDesk) -> HttpAnswer:
    """`POST /functions/{id}/invoke`: the body is the event, the answer is the function's."""
    new = await _parse(request, desk)
    run = await desk.call(new)
    return answer_of(run, logs=request.query.get("logs") in ("true", "1"))


def answer_of(run: RunRecord, *, logs: bool = False) -> HttpAnswer:
    """A finished run as the answer to its caller."""
    if error := answer.platform_error(run):
        return error_answer(error, run.request_id)
    return HttpAnswer(answer.http_status(run.status), answer.http_body(run, logs=logs))


async def invoke_async(request: HttpRequest, desk: CallDesk) -> HttpAnswer:
    """`POST /functions/{id}/async`: 202 once the invocation is safely stored."""
    told = hops.told(request.header(hops.HEADER))
    new = await _parse(request, desk, delay_sec=_delay(request), hops_told=told)
    row = await desk.in_thread(services.submit, new)
    return json_answer({"request_id": row.request_id, "invocation_id": str(row.pk), "status": "accepted"}, status=202)


async def _parse(request: HttpRequest, desk: CallDesk, *, delay_sec: float = 0.0, hops_told: int = 0) -> NewInvocation:
    (reference,) = request.path_args
    known = await desk.function(reference)
    event = await _event(request)
    query = request.query
    session_key = request.header(b"x-nimbus-session") or query.get("session_key", "")
    if len(session_key) > MAX_SESSION_KEY or not session_key.isprintable():
        raise InvalidRequest(f"The session key must be at most {MAX_SESSION_KEY} printable characters.")
    key = request.header(b"idempotency-key")
    environment = known.environment(query.get("environment", ""))
    version, alias = await _chosen(known, query, environment.active_alias, session_key, desk)
    if known.schemas:
        await input_schema.admit(known.schema_of(version), event, desk.in_thread)
    return NewInvocation(
        function=known,
        event=event,
        request_id=request.request_id,
        id=_own_id(request),
        version=version,
        alias=alias,
        environment=environment.environment,
        session_key=session_key,
        idempotency_key=idempotency.check(key) if key else "",
        delay_sec=delay_sec,
        hops=hops_told,
    )


def _own_id(request: HttpRequest) -> UUID:
    """The request id serves as the invocation's when the platform made it; a client may send the same one twice."""
    made_here = not request.header(b"x-request-id")
    return (as_uuid(request.request_id) if made_here else None) or new_id()


async def _event(request: HttpRequest) -> bytes:
    """The body as it came, known to be JSON. Raises TooLarge, UnsupportedMediaType, InvalidJson."""
    body = await request.body(config().max_event_bytes)
    if not body:
        return b"{}"
    content_type = request.header(b"content-type").partition(";")[0].strip().lower()
    if content_type and content_type != "application/json" and not content_type.endswith("+json"):
        raise UnsupportedMediaType("The event must be sent as Content-Type: application/json.")
    parse_json(body)
    return body


async def _chosen(
    function: LiveFunction, query: dict[str, str], active_alias: str, session_key: str, desk: CallDesk
) -> tuple[int | None, str]:
    """Version and alias that the query asks for, else the alias that is active in its environment. From memory, but for
    a version that this process has not seen yet."""
    alias, number = query.get("alias", ""), query.get("version", "")
    if alias and number:
        raise InvalidRequest("Give either alias or version, not both.")
    if not number:
        alias = alias or active_alias
    if alias:
        return function.route(alias, session_key, random.random()), alias
    if not number:
        return None, ""
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise InvalidRequest("version must be a number.", details={"version": ["Must be a positive integer."]})
    if int(number) not in function.timeouts:
        await desk.in_thread(directory.check_version, function, int(number))
    return int(number), ""


def _delay(request: HttpRequest) -> float:
    text = request.query.get("delay_sec", "0")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidRequest("delay_sec must be a number.", details={"delay_sec": ["Must be 0 to 86400."]})
    return float(text)
