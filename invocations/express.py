"""The express way of a plain warm call: everything that is asked of it is in memory, so it is sent on in one step.

Plain is: a known key (or embedded mode), no proxy, session, idempotency key or parameter, a function that is known
here, and a worker with a connection. For all else, and for whatever would be refused, `begin` says None and nothing
has happened: the request then goes the way of all requests (`asgi.py`, `hot.py`), which has the rules. What is asked
here is asked by the same functions; a test holds the answers of both against each other.

Where Redis counts too (a quota of the day, `max_concurrency`) the call is admitted here, and then the desk's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import cast

from accounts.door import Door, Recognised
from accounts.rights import Right
from functions import directory
from invocations import hot
from invocations.dispatch import UNKNOWN_BODY_BYTES, Dispatch, ExpressCall, Reply
from invocations.models import TriggerType
from invocations.record import RunRecord
from nimbus_project.config import Config
from nimbus_project.core.errors import NimbusError
from nimbus_project.core.http import HttpAnswer, Scope, error_answer, guard
from nimbus_project.core.ids import new_id_text
from nimbus_project.core.parsers import parse_json

_BEFORE, _AFTER = b"/api/v1/functions/", b"/invoke"
# A request with one of these is not plain.
_SPECIAL = frozenset(
    {
        b"cookie", b"expect", b"idempotency-key", b"origin", b"sec-fetch-site", b"transfer-encoding", b"upgrade",
        b"x-nimbus-session", b"x-request-id",
    }
)  # fmt: skip


@dataclass(slots=True)
class Habit:
    """What one connection asked for last: most ask for the same again, with the same headers."""

    url: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    reference: str = ""
    who: Recognised | None = None


def may_be_plain(method: bytes, url: bytes) -> bool:
    """Whether the address is `POST`ed to for an invoke, and says nothing more."""
    return (
        url.startswith(_BEFORE) and url.endswith(_AFTER) and method == b"POST" and b"%" not in url and b"?" not in url
    )


class Express:
    """One per web process."""

    def __init__(self, settings: Config, dispatch: Dispatch, door: Door, hosts: frozenset[str]) -> None:
        self._dispatch = dispatch
        self._door = door
        self._hosts = hosts
        self._max_event_bytes = settings.max_event_bytes

    def new_habit(self) -> Habit:
        return Habit()

    def takes(self, scope: Scope, method: bytes, url: bytes, habit: object) -> bool:
        """A large body is kept here only of a sender who is known, on this connection or by the key that is shown, for
        whoever has no key has no right to our memory."""
        if not may_be_plain(method, url):
            return False
        habit = cast(Habit, habit)
        headers = scope["headers"]
        if habit.who is not None and headers == habit.headers:
            return True
        size = 0
        for name, value in headers:
            if name in _SPECIAL:
                return False
            if name == b"content-length":
                size = max(size, int(value))
        if size <= UNKNOWN_BODY_BYTES:
            return True
        if size > self._max_event_bytes:
            return False
        # Else a connection that sends nothing but large events would never be known.
        return habit.who is not None or self._learn(scope, url, habit) is not None

    def begin(self, scope: Scope, method: bytes, url: bytes, body: bytes, habit: object, call: ExpressCall) -> bool:
        habit = cast(Habit, habit)
        now = time.time()
        who = habit.who
        if who is None or url != habit.url or scope["headers"] != habit.headers:
            who = self._learn(scope, url, habit)
        if who is None or not who.still_holds(now):
            habit.who = None
            return False
        function = directory.known_to(who.principal, habit.reference)
        if function is None or function.schemas:
            return False
        link = self._dispatch.link_for(function)
        if link is None or not _is_json(body) or not self._door.has_room(who):
            return False
        call.request_id, call.teller, call.standing = new_id_text(), TELLER, self._door.spend(who, now)
        self._dispatch.send(call, link, function, body or b"{}", who.principal, now, _TRIGGER)
        return True

    def _learn(self, scope: Scope, url: bytes, habit: Habit) -> Recognised | None:
        """Who sends such requests, and what they call."""
        headers = dict(scope["headers"])
        content_type = headers.get(b"content-type", b"application/json")
        reference = url[len(_BEFORE) : -len(_AFTER)].decode("latin-1")
        if content_type != b"application/json" or "/" in reference or len(headers) != len(scope["headers"]):
            return None
        try:
            guard("POST", headers, self._hosts)
        except NimbusError:
            return None
        who = self._door.recognise(scope, headers, Right.INVOKE)
        if who is not None:
            habit.url, habit.headers, habit.reference, habit.who = url, scope["headers"], reference, who
        return who


class _Teller:
    """As `hot.invoke`."""

    def ended(self, call: ExpressCall, run: RunRecord) -> Reply:
        return _reply(call, hot.answer_of(run))

    def refused(self, call: ExpressCall, error: NimbusError) -> Reply:
        return _reply(call, error_answer(error, call.request_id))


TELLER = _Teller()
_TRIGGER = str(TriggerType.HTTP)


def _reply(call: ExpressCall, answer: HttpAnswer) -> Reply:
    lines = b"content-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n" % (
        answer.content_type,
        len(answer.body),
        call.request_id.encode(),
    )
    if answer.headers:
        lines += b"".join([b"%b: %b\r\n" % pair for pair in answer.headers])
    if call.standing is not None:
        lines += call.standing.lines()
    return Reply(answer.status, lines, answer.body)


def _is_json(event: bytes) -> bool:
    try:
        if event:
            parse_json(event)
    except NimbusError:
        return False
    return True
