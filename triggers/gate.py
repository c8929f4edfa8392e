"""What the entrances of webhooks and custom routes share in one web process, and the answers that they give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from accounts.door import Door, Refused
from functions.directory import LiveFunction
from functions.errors import FunctionNotFound
from invocations import answer
from invocations.calls import CallDesk
from invocations.dispatch import Reply
from invocations.outcome import Status
from invocations.record import RunRecord
from nimbus_project.config import config
from nimbus_project.core import redis
from nimbus_project.core.errors import FunctionNotActive, MethodNotAllowed, NimbusError, NotFound, Unavailable
from nimbus_project.core.http import HttpAnswer, HttpRequest, Receive, Scope, Send, error_answer, too_large
from nimbus_project.core.ids import as_uuid, new_id
from triggers.errors import BadFunctionAnswer, FunctionFailed, FunctionTimedOut
from triggers.http_answers import BadAnswer, Pairs, Passed, passed_through
from triggers.replays import Replays

_PATIENCE_SEC = 1.0


class Gate:
    """Lives in the event loop of its process."""

    def __init__(self, desk: CallDesk, door: Door) -> None:
        self.desk = desk
        self.door = door
        self._redis = redis.async_connection(patience_sec=_PATIENCE_SEC)
        self.replays = Replays(self._redis, patience_sec=_PATIENCE_SEC)

    async def close(self) -> None:
        await self.replays.close()
        await self._redis.aclose()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer that is sent by hand: any content type, or none; no body for HEAD."""

    passed: Passed
    request_id: str
    is_head: bool = False

    @property
    def status(self) -> int:
        return self.passed.status

    def with_headers(self, headers: Pairs) -> Answer:
        """With these instead of its own."""
        return replace(self, passed=replace(self.passed, headers=headers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = [*self.passed.headers, (b"x-request-id", self.request_id.encode())]
        if self.passed.has_body:
            head.append((b"content-length", str(len(self.passed.body)).encode()))
        await send({"type": "http.response.start", "status": self.passed.status, "headers": head})
        await send({"type": "http.response.body", "body": b"" if self.is_head else self.passed.body})


def from_http(made: HttpAnswer, request: HttpRequest) -> Answer:
    """An answer of the platform's own."""
    return Answer(_passed(made), request.request_id, request.method == "HEAD")


def _passed(made: HttpAnswer) -> Passed:
    return Passed(made.status, ((b"content-type", made.content_type), *made.headers), made.body)


def refusal(error: NimbusError, request: HttpRequest) -> Answer:
    return Answer(refused(error, request.request_id), request.request_id, request.method == "HEAD")


def refused(error: NimbusError, request_id: str) -> Passed:
    """What a stranger is told instead of the function's answer."""
    made = error_answer(error, request_id)
    if isinstance(error, Refused):
        made = replace(made, headers=(*made.headers, *error.standing.headers()))
    return _passed(made)


def not_allowed(request: HttpRequest, allowed: str) -> Answer:
    """405, with what is."""
    error = MethodNotAllowed(f"{request.method[:16]} is not possible here, but {allowed}.")
    made = error_answer(error, request.request_id)
    return from_http(replace(made, headers=(*made.headers, (b"allow", allowed.encode()))), request)


def answer_of(run: RunRecord, request: HttpRequest) -> Answer:
    """The function's. Raises as `passed_of`."""
    return Answer(passed_of(run), request.request_id, request.method == "HEAD")


def passed_of(run: RunRecord) -> Passed:
    """The function's answer. Raises NimbusError where it has given none; strangers don't hear why, the log has it."""
    if error := answer.platform_error(run):
        raise error
    if run.status == Status.TIMEOUT:
        raise FunctionTimedOut("The function did not answer in time.")
    if run.status != Status.SUCCESS:
        raise FunctionFailed("The function failed. Its log has the details under this request id.")
    try:
        return passed_through(run.output or b"null")
    except BadAnswer as bad:
        raise BadFunctionAnswer(f"The function's answer can't be sent: {bad}") from bad


def reply_of(passed: Passed, request_id: str) -> Reply:
    """As `Answer` sends it, in one piece."""
    lines = [b"%b: %b\r\n" % pair for pair in passed.headers]
    lines.append(b"x-request-id: %b\r\n" % request_id.encode())
    body = passed.body
    if passed.has_body:
        lines.append(b"content-length: %d\r\n" % len(body))
    elif passed.status == 205:
        # It has an end all the same (RFC 9110, 15.3.6), which uvicorn says so.
        lines.append(b"transfer-encoding: chunked\r\n")
        body = b"0\r\n\r\n"
    return Reply(passed.status, b"".join(lines), body)


async def function_of(function_id: str, desk: CallDesk) -> LiveFunction:
    """For the principal of now. Raises NotFound."""
    try:
        return await desk.function(function_id)
    except FunctionNotFound as error:
        raise NotFound("There is nothing at this address.") from error


def told(error: NimbusError) -> NimbusError:
    """What a sender hears of it: of a function out of service to come again, for what has to be done about it is the
    owner's business."""
    if not isinstance(error, FunctionNotActive):
        return error
    return Unavailable("This is out of service right now. Try again later.", code=error.error_code)


def checked_size(event: bytes) -> bytes:
    """Raises TooLarge: base64 and escapes make an event longer than its body."""
    limit = config().max_event_bytes
    if len(event) > limit:
        raise too_large(limit)
    return event


def own_id(request: HttpRequest) -> UUID:
    """The request id serves as the invocation's when the platform made it; a client may send the same one twice."""
    made_here = not request.header(b"x-request-id")
    return (as_uuid(request.request_id) if made_here else None) or new_id()
