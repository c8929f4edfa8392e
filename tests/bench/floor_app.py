"""The direct lane's floors: the least that a call can cost with these parts, and nothing of the platform around them.

    uvicorn tests.bench.floor_app:application     with BENCH_FLOOR=constant | lease | relay
    python -m tests.bench.floor_app               the worker of `relay`, on the socket BENCH_FLOOR_SOCKET

*constant*: the same server answers a constant. *lease*: it leases a warm sandbox and speaks frames to it. *relay*: the
sandboxes are a second process's, as a worker's are. All end by SIGTERM or SIGINT and take their sandboxes with them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, cast

import uvloop

from functions.runtimes import RUNTIMES
from nimbus_project.config import Config
from tests.bench.bare import hello_spec, invoke_head
from workers.drivers.docker import DockerDriver, DockerSandbox
from workers.frames import Kind, decode, encode

SANDBOXES = 2
CONSTANT = b'{"message":"Hello Nimbus"}'
_SIZES = struct.Struct(">II")


class Sandboxes:
    """A few warm ones: first come first served, one call at a time each."""

    def __init__(self) -> None:
        self._driver = DockerDriver(Config(), None)
        self._free: deque[int] = deque()
        self._queue: deque[tuple[bytes, Callable[[bytes], None]]] = deque()
        self._then: dict[int, Callable[[bytes], None]] = {}
        self._made: list[DockerSandbox] = []
        try:
            for _ in range(SANDBOXES):
                sandbox = self._driver.create(RUNTIMES["python3.11"], memory_mb=256, deadline=time.monotonic() + 60)
                assert sandbox.load(hello_spec(), time.monotonic() + 30) is None
                self._made.append(sandbox)
                self._free.append(sandbox.stream.fileno())
        except BaseException:
            self._driver.close()
            raise

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        for fd in self._free:
            os.set_blocking(fd, False)
            loop.add_reader(fd, self._read, fd)

    def call(self, event: bytes, then: Callable[[bytes], None]) -> None:
        if not self._free:
            self._queue.append((event, then))
            return
        fd = self._free.popleft()
        self._then[fd] = then
        os.write(fd, encode(Kind.INVOKE, invoke_head(), event))

    def _read(self, fd: int) -> None:
        body = decode(os.read(fd, 65536)).body
        then = self._then.pop(fd)
        self._free.append(fd)
        if self._queue:
            self.call(*self._queue.popleft())
        then(body)

    def close(self) -> None:
        self._driver.close()


class _Peer(asyncio.Protocol):
    """Frames ``u32 size, u32 number, bytes`` between web and worker."""

    def __init__(self, take: Callable[[_Peer, int, bytes], None]) -> None:
        self._take = take
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while len(data) - at >= 8:
            size, number = _SIZES.unpack_from(data, at)
            if len(data) - at < 8 + size:
                break
            self._take(self, number, data[at + 8 : at + 8 + size])
            at += 8 + size
        self._rest = data[at:]

    def send(self, number: int, body: bytes) -> None:
        self._transport.write(_SIZES.pack(len(body), number) + body)


class Application:
    """ASGI."""

    def __init__(self) -> None:
        self._kind = os.environ.get("BENCH_FLOOR", "constant")
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await self._start()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            if self._kind == "lease":
                self._sandboxes.close()
            await send({"type": "lifespan.shutdown.complete"})
            return
        event = (await receive())["body"]
        body = CONSTANT if self._kind == "constant" else await self._call(event)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        if self._kind == "lease":
            self._sandboxes = Sandboxes()
            self._sandboxes.listen(loop)
        elif self._kind == "relay":
            path = os.environ["BENCH_FLOOR_SOCKET"]
            _, self._peer = await loop.create_unix_connection(lambda: _Peer(self._answered), path)

    def _answered(self, peer: _Peer, number: int, body: bytes) -> None:
        self._waiting.pop(number).set_result(body)

    async def _call(self, event: bytes) -> bytes:
        future = asyncio.get_running_loop().create_future()
        if self._kind == "lease":
            self._sandboxes.call(event, future.set_result)
        else:
            self._number += 1
            self._waiting[self._number] = future
            self._peer.send(self._number, event)
        return await future


async def work() -> None:
    """The worker of `relay`, until it is asked to end."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    sandboxes = Sandboxes()
    try:
        sandboxes.listen(loop)

        def take(peer: _Peer, number: int, event: bytes) -> None:
            sandboxes.call(event, lambda body: peer.send(number, body))

        server = await loop.create_unix_server(lambda: _Peer(take), os.environ["BENCH_FLOOR_SOCKET"])
        await ended.wait()
        server.close()
    finally:
        sandboxes.close()


application = Application()

if __name__ == "__main__":
    uvloop.run(work())
