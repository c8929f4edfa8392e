"""One web process's connection to this worker: frames in, frames out, many at a time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

import orjson

from nimbus_project.core import unix_socket, wire

if TYPE_CHECKING:
    from workers.direct import DirectServer

log = logging.getLogger("nimbus.direct")


class Connection(asyncio.Protocol):
    """Lives in the server's loop."""

    def __init__(self, server: DirectServer) -> None:
        self._server = server
        self._splitter = wire.Splitter()
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by class.
        self._transport = cast(asyncio.Transport, transport)
        unix_socket.widen(transport.get_extra_info("socket"))
        self._server.joined(self)
        hello = orjson.dumps({"protocol": wire.PROTOCOL, "worker": self._server.worker.id})
        self._transport.write(wire.encode(wire.HELLO, 0, hello))

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._splitter.feed(data)
        except wire.WireError:
            log.exception("a web process does not speak the direct lane's protocol")
            self.close()
            return
        for frame in frames:
            if frame[0] == wire.CALL:
                self._server.take(self, frame)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._server.left(self)

    def answer(self, number: int, head: bytes, output: bytes) -> None:
        """With the next `flush`."""
        self._out.append(wire.encode(wire.ANSWER, number, head, output))

    def busy(self, number: int) -> None:
        """With the next `flush`."""
        self._out.append(wire.encode(wire.BUSY, number, b""))

    def flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None and out:
            wire.write_frames(self._transport, out)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
