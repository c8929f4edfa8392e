"""A call on its way in one step, and its answer in one piece: what the express ways share (`express.py`, and those of
triggers). Everything that is asked of a call there is in memory; what is not is asked by the way of all requests.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from accounts.limits import Standing
from accounts.principal import Principal
from functions.directory import LiveFunction
from invocations import daily
from invocations.calls import CallDesk
from invocations.direct import Busy, Link
from invocations.record import CallMessage, RunRecord
from invocations.services import NewInvocation
from nimbus_project.config import Config
from nimbus_project.core.errors import NimbusError
from nimbus_project.core.http import Scope

UNKNOWN_BODY_BYTES = 64 * 1024
"""As much as uvicorn takes in before anybody has asked for it."""


def is_plain_head(headers: list[tuple[bytes, bytes]], special: frozenset[bytes]) -> bool:
    """Whether it says nothing unusual, nor that more is to come than anybody may send."""
    for name, value in headers:
        if name in special or (name == b"content-length" and int(value) > UNKNOWN_BODY_BYTES):
            return False
    return True


class Reply(NamedTuple):
    """A whole answer."""

    status: int
    lines: bytes
    """Its headers, each with its line's end."""
    body: bytes


class Teller(Protocol):
    """What the caller of a run is told."""

    def ended(self, call: ExpressCall, run: RunRecord) -> Reply | Coroutine[Any, Any, Reply]:
        """Of how it ended; a coroutine where something must be done first. Raises NimbusError, for which `refused` has
        the answer."""
        ...

    def refused(self, call: ExpressCall, error: NimbusError) -> Reply | Coroutine[Any, Any, Reply]:
        """Of why there is no answer of the function."""
        ...


class ExpressCall:
    """One call, from its request to its answer: who waits for its record (`direct.Waiting`)."""

    teller: Teller
    request_id: str
    """Also the invocation's."""
    standing: Standing | None = None
    """Of its sender, to be told with the answer."""
    message: CallMessage
    event: bytes
    timeout_sec: int
    """These three once it is sent."""

    def done(self) -> bool:
        raise NotImplementedError

    def set_result(self, record: RunRecord, /) -> None:
        raise NotImplementedError

    def set_exception(self, error: Exception, /) -> None:
        """`direct.Busy`, `direct.WorkerLost`, or a NimbusError: it is refused."""
        raise NotImplementedError

    def count(self, new: NewInvocation, principal: Principal) -> None:
        """The desk does the rest, as for any other way: Redis counts its like too."""
        raise NotImplementedError


class Way(Protocol):
    """One kind of call that the parser may send on by itself."""

    def new_habit(self) -> object:
        """What is remembered of one connection."""
        ...

    def takes(self, scope: Scope, method: bytes, url: bytes, habit: object) -> bool:
        """A first look, before the body is there, which is kept here only of so many bytes as its sender has a right
        to."""
        ...

    def begin(self, scope: Scope, method: bytes, url: bytes, body: bytes, habit: object, call: ExpressCall) -> bool:
        """False: not plain after all, and nothing was counted or sent."""
        ...


class Dispatch:
    """One per web process."""

    def __init__(self, settings: Config, desk: CallDesk) -> None:
        self.desk = desk
        self._wait_ms = settings.queue_wait_sec * 1000

    def link_for(self, function: LiveFunction) -> Link | None:
        """The connection that a call goes by; None when it must wait for something, or would be refused."""
        if not function.invokable or daily.limit_of(function.owner_id) is None or not self.desk.has_room:
            return None
        return self.lane_of(function)

    def lane_of(self, function: LiveFunction) -> Link | None:
        return self.desk.lane.first(function.id, function.version)

    def send(
        self,
        call: ExpressCall,
        link: Link | None,
        function: LiveFunction,
        event: bytes,
        principal: Principal,
        now: float,
        trigger_type: str,
    ) -> None:
        """Where Redis counts too (a quota of the day, `max_concurrency`) by the desk, else at once. Without a link, as
        if its worker were busy."""
        request_id = call.request_id
        # None: it was forgotten while the call waited for something.
        if daily.limit_of(function.owner_id) != 0 or function.max_concurrency:
            new = NewInvocation(
                function=function,
                event=event,
                request_id=request_id,
                id=UUID(request_id),
                trigger_type=trigger_type,
            )
            call.count(new, principal)
            return
        now_ms = now * 1000
        call.message = message = CallMessage(
            request_id,
            request_id,
            function.id,
            function.name,
            function.runtime,
            function.version,
            now_ms,
            now_ms + self._wait_ms,
            self.desk.web_id,
            function.owner_id,
            principal.user_id,
            generation=function.generation,
            trigger_type=trigger_type,
        )
        call.event, call.timeout_sec = event, function.timeout_sec
        if link is None:
            call.set_exception(Busy())
            return
        link.send_for(call, message.to_head(), event, self.desk.give_up_at(function.timeout_sec))
