"""What one connection may cost before anybody knows whose it is: uvicorn takes heads of any size, for any time, and
waits for whoever stops in the middle of a request or of reading an answer."""

from __future__ import annotations

import asyncio
from asyncio import TimerHandle
from enum import Enum
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from nimbus_project.core.ids import new_id
from nimbus_project.express_protocol import ExpressProtocol

MAX_HEAD_BYTES = 65536
"""Request line and headers. What came in the same read is taken too: the bound is for who goes on and on."""
LOOK_SEC = 15.0
"""How often a connection is looked at."""
PATIENCE_LOOKS = 3
"""At so many in a row without a step by the client it is closed: after 30 to 45 s."""


class Waiting(Enum):
    """For what of the client's."""

    REQUEST = "request"
    HEAD = "head"
    BODY = "body"


class BoundedProtocol(ExpressProtocol):
    """One connection, with bounds in bytes and time."""

    _waiting = Waiting.REQUEST
    _head_bytes = 0
    _steps = 0
    """Requests begun, heads ended, pieces of bodies: a head is one step, in however many pieces it drips."""
    _seen: tuple[int, int] = (-1, 0)
    _still = 0
    _look_again: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._look_again = self.loop.call_later(LOOK_SEC, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._look_again is not None:
            self._look_again.cancel()
            self._look_again = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._waiting is Waiting.BODY:
            self._steps += 1
            super().data_received(data)
            return
        self._head_bytes += len(data)
        super().data_received(data)
        if self._waiting is Waiting.HEAD and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, "head_too_large", f"The request's headers have more than {MAX_HEAD_BYTES} bytes.")

    def on_message_begin(self) -> None:
        self._waiting = Waiting.HEAD
        self._steps += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._waiting = Waiting.BODY
        self._steps += 1
        self._head_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._waiting = Waiting.REQUEST
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "malformed_request", "This is no HTTP/1.1 request.")

    def _refuse(self, status: int, code: str, message: str) -> None:
        """In the one shape of errors; without a word where an answer is under way, which it would be taken for."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            request_id = str(new_id())
            body = orjson.dumps({"error": message, "code": code, "request_id": request_id})
            head = (
                "content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %s\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(STATUS_LINE[status] + (head % (len(body), request_id)).encode() + body)
        self.transport.close()

    def _look(self) -> None:
        """Close it when it is the client who has been waited for, all the time since some looks ago."""
        unsent = self.transport.get_write_buffer_size()
        now = (self._steps, unsent)
        self._still = self._still + 1 if now == self._seen and (unsent or self._is_awaited()) else 0
        self._seen = now
        if self._still >= PATIENCE_LOOKS - 1:
            # Not close(), which waits for the answer to be read.
            self.transport.abort()
            return
        self._look_again = self.loop.call_later(LOOK_SEC, self._look)

    def _is_awaited(self) -> bool:
        """Whether we wait for bytes, rather than for our own answer or until there is room for more."""
        cycle: Any = self.cycle
        answered = cycle is None or cycle.response_complete
        return not self.flow.read_paused and (answered or self._waiting is not Waiting.REQUEST)
