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

from accounts.door import Door, Recognised
from accounts.limits import Standing
from accounts.principal import Principal
from accounts.rights import Right
from functions import directory
from functions.directory import LiveFunction
from invocations import daily
from invocations.calls import CallDesk
from invocations.direct import Waiting
from invocations.record import CallMessage
from invocations.services import NewInvocation
from nimbus_project.config import Config
from nimbus_project.core.errors import NimbusError
from nimbus_project.core.http import Scope, guard
from nimbus_project.core.ids import new_id
from nimbus_project.core.parsers import parse_json

_BEFORE, _AFTER = b"/api/v1/functions/", b"/invoke"
UNKNOWN_BODY_BYTES = 64 * 1024
"""As much as uvicorn takes in before anybody has asked for it."""
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


@dataclass(slots=True)
class Sent:
    """A call on its way, with what is needed to go on should its worker not take it."""

    request_id: str
    standing: Standing | None
    message: CallMessage
    event: bytes
    timeout_sec: int


@dataclass(slots=True)
class Limited:
    """A call that was let in, and that the desk must still count before it is sent."""

    request_id: str
    standing: Standing | None
    new: NewInvocation
    principal: Principal


def may_be_plain(url: bytes) -> bool:
    """Whether the address is `POST`ed to for an invoke, and says nothing more."""
    return url.startswith(_BEFORE) and url.endswith(_AFTER) and b"%" not in url and b"?" not in url


class Express:
    """One per web process."""

    def __init__(self, settings: Config, desk: CallDesk, door: Door, hosts: frozenset[str]) -> None:
        self.desk = desk
        self._door = door
        self._hosts = hosts
        self._max_event_bytes = settings.max_event_bytes
        self._wait_ms = settings.queue_wait_sec * 1000

    def takes(self, scope: Scope, url: bytes, habit: Habit) -> bool:
        """A first look, before the body is there: a large one is kept here only of a sender who is known, on this
        connection or by the key that is shown, for whoever has no key has no right to our memory."""
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

    def begin(self, scope: Scope, url: bytes, event: bytes, habit: Habit, waiting: Waiting) -> Sent | Limited | None:
        """Send it on; `waiting` gets the record, `direct.Busy` or `direct.WorkerLost`. Limited: not sent yet. None: not
        plain after all, and nothing was counted or sent."""
        now = time.time()
        who = habit.who
        if who is None or url != habit.url or scope["headers"] != habit.headers:
            who = self._learn(scope, url, habit)
        if who is None or not who.still_holds(now):
            habit.who = None
            return None
        function = directory.known_to(who.principal, habit.reference)
        if function is None or not function.invokable or function.schemas:
            return None
        a_day = daily.limit_of(function.owner_id)
        if a_day is None or not self.desk.has_room:
            return None
        link = self.desk.lane.first(function.id, function.version)
        if link is None or not _is_json(event):
            return None
        counted = self._door.spend(who, now)
        if counted is None:
            return None
        if a_day or function.max_concurrency:
            return _limited(function, event, counted[0], who.principal)
        run_id = str(new_id())
        message = CallMessage(
            id=run_id,
            request_id=run_id,
            function_id=function.id,
            function_name=function.name,
            runtime=function.runtime,
            version=function.version,
            created_ms=now * 1000,
            start_before_ms=now * 1000 + self._wait_ms,
            reply_to=self.desk.web_id,
            owner_id=function.owner_id,
            caller_id=who.principal.user_id,
            generation=function.generation,
        )
        event = event or b"{}"
        link.send_for(waiting, message.to_head(), event, self.desk.give_up_at(function.timeout_sec))
        return Sent(run_id, counted[0], message, event, function.timeout_sec)

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


def _limited(function: LiveFunction, event: bytes, standing: Standing | None, principal: Principal) -> Limited:
    run_id = new_id()
    new = NewInvocation(function=function, event=event or b"{}", request_id=str(run_id), id=run_id)
    return Limited(new.request_id, standing, new, principal)


def _is_json(event: bytes) -> bool:
    try:
        if event:
            parse_json(event)
    except NimbusError:
        return False
    return True
