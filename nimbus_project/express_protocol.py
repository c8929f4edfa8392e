"""HTTP/1.1 as uvicorn speaks it, with a short way for plain calls (`invocations/express.py`): from the parser to the
worker's connection and back, without a task, a scope's copies and a coroutine for each.

uvicorn's own path costs more than all that Nimbus does for a warm call. Whatever is not plain is handed to it
untouched, from the beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from accounts.principal import acting_as
from invocations import hot
from invocations.direct import Busy, WorkerLost
from invocations.express import Express, Habit, Limited, Sent, may_be_plain
from invocations.record import RunRecord
from nimbus_project.core.errors import NimbusError
from nimbus_project.core.http import HttpAnswer, error_answer
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.unforeseen import answer_to
from nimbus_project.core.wire import LARGE_BYTES

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState


class _Nothing:
    """Stands for the event that uvicorn's cycles wait for."""

    def set(self) -> None: ...


class ExpressCall:
    """One plain call, in the place of uvicorn's cycle: so a request that is pipelined behind it waits its turn."""

    message_event = _Nothing()
    body = b""
    more_body = False

    def __init__(self, protocol: ExpressProtocol) -> None:
        self._protocol = protocol
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self.sent: Sent | Limited | None = None

    # -- as a future, for the link

    def done(self) -> bool:
        return self.response_complete

    def set_result(self, record: RunRecord) -> None:
        self._protocol.answer(self, hot.answer_of(record))

    def set_exception(self, error: Exception) -> None:
        """The worker has not begun it, or died with it: what comes now may wait."""
        self._protocol.keep(self._go_on(error))

    async def _go_on(self, error: Exception) -> None:
        sent, desk = self.sent, self._protocol.express.desk
        assert isinstance(sent, Sent)
        if not isinstance(error, Busy):
            await self._answer(desk.lost(sent.message, sent.event, WorkerLost(str(error))))
            return
        try:
            await self._answer(desk.send(sent.message, sent.event, sent.timeout_sec))
        except WorkerLost as lost:
            await self._answer(desk.lost(sent.message, sent.event, lost))

    async def run_limited(self, limited: Limited) -> None:
        """The desk does the rest, as for any other way."""
        request_id_var.set(limited.request_id)
        with acting_as(limited.principal):
            await self._answer(self._protocol.express.desk.call(limited.new))

    async def _answer(self, record: Awaitable[RunRecord]) -> None:
        """Raises WorkerLost."""
        assert self.sent is not None
        try:
            answer = hot.answer_of(await record)
        except WorkerLost:
            raise
        except NimbusError as refusal:
            answer = error_answer(refusal, self.sent.request_id)
        except Exception as unforeseen:
            answer = error_answer(answer_to(unforeseen, "express"), self.sent.request_id)
        self._protocol.answer(self, answer)


class ExpressProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], **more: Any) -> None:
        super().__init__(config, server_state, app_state, **more)
        self._habit = Habit()
        self._parts: list[bytes] | None = None
        """Of the body of a request that may be plain; None while there is none."""

    @property
    def express(self) -> Express:
        return cast(Express, self.app.express)

    def on_headers_complete(self) -> None:
        if (
            may_be_plain(self.url)
            and self._is_free()
            and self.express.takes(cast(Any, self.scope), self.url, self._habit)
        ):
            self._parts = []
        else:
            super().on_headers_complete()

    def _is_free(self) -> bool:
        """A POST of HTTP/1.1 on a connection that is kept and has nothing under way, earlier answers read included: who
        asks and never listens is waited for, or it would fill our memory."""
        parser, cycle = self.parser, self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and not self.pipeline
            and not self.flow.write_paused
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
        )

    def on_body(self, body: bytes) -> None:
        if self._parts is not None:
            self._parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        parts, self._parts = self._parts, None
        if parts is None:
            super().on_message_complete()
            return
        event = parts[0] if len(parts) == 1 else b"".join(parts)
        call = ExpressCall(self)
        call.sent = self.express.begin(cast(Any, self.scope), self.url, event, self._habit, call)
        if call.sent is not None:
            self.cycle = cast(Any, call)
            if isinstance(call.sent, Limited):
                self.keep(call.run_limited(call.sent))
            return
        super().on_headers_complete()
        if event:
            super().on_body(event)
        super().on_message_complete()

    def answer(self, call: ExpressCall, answer: HttpAnswer) -> None:
        """The whole answer at once; a large one is not copied for it."""
        call.response_complete = True
        assert call.sent is not None
        if not call.disconnected and not self.transport.is_closing():
            head = self._head(answer, call.sent)
            if len(answer.body) > LARGE_BYTES:
                self.transport.writelines((head, answer.body))
            else:
                self.transport.write(head + answer.body)
        self.on_response_complete()
        if not call.keep_alive:
            self.transport.close()

    def _head(self, answer: HttpAnswer, sent: Sent | Limited) -> bytes:
        lines = [STATUS_LINE[answer.status]]
        for name, value in self.server_state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        lines.append(
            b"content-type: %b\r\ncontent-length: %d\r\nx-request-id: %b\r\n"
            % (answer.content_type, len(answer.body), sent.request_id.encode())
        )
        for name, value in (*answer.headers, *(sent.standing.headers() if sent.standing is not None else ())):
            lines += (name, b": ", value, b"\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    def keep(self, work: Any) -> None:
        """Run a coroutine that the server waits for at its end."""
        task = asyncio.ensure_future(work, loop=self.loop)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
