"""HTTP/1.1 as uvicorn speaks it, with a short way for plain calls (`invocations/express.py`, `triggers/express_*.py`):
from the parser to the worker's connection and back, without a task, a scope's copies and a coroutine for each.

uvicorn's own path costs more than all that Nimbus does for a warm call. Whatever is not plain is handed to it
untouched, from the beginning.
"""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from accounts.principal import Principal, acting_as
from invocations.direct import Busy, WorkerLost
from invocations.dispatch import ExpressCall, Reply, Way
from invocations.record import RunRecord
from invocations.services import NewInvocation
from nimbus_project.core.errors import NimbusError
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.unforeseen import answer_to
from nimbus_project.core.wire import LARGE_BYTES

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from invocations.calls import CallDesk


class _Nothing:
    """Stands for the event that uvicorn's cycles wait for."""

    def set(self) -> None: ...


class Call(ExpressCall):
    """One plain call, in the place of uvicorn's cycle: so a request that is pipelined behind it waits its turn."""

    message_event = _Nothing()
    body = b""
    more_body = False
    disconnected = False
    keep_alive = True
    response_complete = False

    def __init__(self, protocol: ExpressProtocol) -> None:
        self._protocol = protocol

    # -- as a future, for the link

    def done(self) -> bool:
        return self.response_complete

    def set_result(self, record: RunRecord, /) -> None:
        try:
            reply = self.teller.ended(self, record)
        except NimbusError as refusal:
            reply = self.teller.refused(self, refusal)
        except Exception as unforeseen:
            reply = self.teller.refused(self, self._unforeseen(unforeseen))
        self._tell(reply)

    def set_exception(self, error: Exception, /) -> None:
        """The worker has not begun it, or died with it: what comes now may wait."""
        if isinstance(error, NimbusError):
            self._tell(self.teller.refused(self, error))
        else:
            self._protocol.keep(self._wait_for(self._go_on(error)))

    def _tell(self, reply: Reply | Coroutine[Any, Any, Reply]) -> None:
        if isinstance(reply, Reply):
            self._protocol.answer(self, reply)
        else:
            self._protocol.keep(self._tell_after(reply))

    async def _tell_after(self, work: Coroutine[Any, Any, Reply]) -> None:
        self._protocol.answer(self, await work)

    async def _go_on(self, error: Exception) -> RunRecord:
        desk = self._protocol.desk
        try:
            if isinstance(error, Busy):
                return await desk.send(self.message, self.event, self.timeout_sec)
        except WorkerLost as lost:
            error = lost
        return await desk.lost(self.message, self.event, WorkerLost(str(error)))

    def count(self, new: NewInvocation, principal: Principal) -> None:
        self._protocol.keep(self._wait_for(self._counted(new, principal)))

    async def _counted(self, new: NewInvocation, principal: Principal) -> RunRecord:
        with acting_as(principal):
            return await self._protocol.desk.call(new)

    async def _wait_for(self, record: Awaitable[RunRecord]) -> None:
        request_id_var.set(self.request_id)
        try:
            run = await record
        except NimbusError as refusal:
            self.set_exception(refusal)
        except Exception as unforeseen:
            self.set_exception(self._unforeseen(unforeseen))
        else:
            self.set_result(run)

    def _unforeseen(self, error: Exception) -> NimbusError:
        """Logged under the request's id, whoever's context this is."""
        before = request_id_var.set(self.request_id)
        try:
            return answer_to(error, "express")
        finally:
            request_id_var.reset(before)


class ExpressProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], **more: Any) -> None:
        super().__init__(config, server_state, app_state, **more)
        self._habits: list[tuple[Way, object]] | None = None
        """Of each way; None before the first request: the ways are there once the application has started."""
        self._way: tuple[Way, object] | None = None
        """That a request may take whose body is being read."""
        self._parts: list[bytes] = []
        self._method = b""
        self._said: tuple[object, bytes] = (None, b"")
        self._idle_since = 0.0
        """By the loop's time; 0: something is under way."""

    @property
    def desk(self) -> CallDesk:
        return cast("CallDesk", self.app.desk)  # type: ignore[union-attr]

    def on_headers_complete(self) -> None:
        if self._is_free():
            habits = self._habits
            if habits is None:
                ways: tuple[Way, ...] = self.app.ways  # type: ignore[union-attr]
                habits = self._habits = [(way, way.new_habit()) for way in ways]
            scope, method, url = cast(Any, self.scope), self.parser.get_method(), self.url
            for pair in habits:
                if pair[0].takes(scope, method, url, pair[1]):
                    self._way, self._method = pair, method
                    return
        super().on_headers_complete()

    def _is_free(self) -> bool:
        """HTTP/1.1 on a connection that is kept and has nothing under way, earlier answers read included: who asks and
        never listens is waited for, or it would fill our memory."""
        parser, cycle = self.parser, self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
        )

    def on_body(self, body: bytes) -> None:
        if self._way is not None:
            self._parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        pair = self._way
        if pair is None:
            super().on_message_complete()
            return
        self._way = None
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if parts:
            self._parts = []
        call = Call(self)
        if pair[0].begin(cast(Any, self.scope), self._method, self.url, body, pair[1], call):
            self.cycle = cast(Any, call)
            return
        super().on_headers_complete()
        if body:
            super().on_body(body)
        super().on_message_complete()

    def answer(self, call: Call, reply: Reply) -> None:
        """The whole answer at once; a large one is not copied for it."""
        call.response_complete = True
        transport = self.transport
        if not call.disconnected and not transport.is_closing():
            status, lines, body = reply
            if len(body) > LARGE_BYTES:
                transport.writelines((b"".join((STATUS_LINE[status], self._server_lines(), lines, b"\r\n")), body))
            else:
                transport.write(b"".join((STATUS_LINE[status], self._server_lines(), lines, b"\r\n", body)))
        self.on_response_complete()
        if not call.keep_alive:
            transport.close()

    def _server_lines(self) -> bytes:
        """The server's own headers, which it makes anew each second."""
        headers = self.server_state.default_headers
        if headers is not self._said[0]:
            self._said = headers, b"".join([b"%b: %b\r\n" % pair for pair in headers])
        return self._said[1]

    def keep(self, work: Any) -> None:
        """Run a coroutine that the server waits for at its end."""
        task = asyncio.ensure_future(work, loop=self.loop)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    # -- one timer for a connection, where uvicorn makes and cancels one for each request

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = 0.0

    def on_response_complete(self) -> None:
        if self.pipeline:
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_later(self.timeout_keep_alive)

    def _look_later(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if not self._idle_since:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_later(left)
        else:
            super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        timer: TimerHandle | None = self.timeout_keep_alive_task
        if timer is not None:
            timer.cancel()
            self.timeout_keep_alive_task = None
