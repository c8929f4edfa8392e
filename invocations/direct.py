"""The direct lane's web end: one connection per worker, calls multiplexed on it, answers to futures.

A worker that can't be reached, or says *busy*, is passed over; when none takes the call it goes by the queue, waits
there, and is answered all the same. A call that a worker has taken is never sent to another: it may have begun.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, cast

from invocations import choice
from invocations.record import CallMessage, RunRecord
from nimbus_project.config import Config, host_and_port
from nimbus_project.core import mutual_tls, unix_socket, wire
from nimbus_project.core.fleet import WorkerState

log = logging.getLogger("nimbus.direct")

CONNECT_SEC = 2.0
AGAIN_SEC = 1.0
"""A worker that could not be reached is not tried again for so long."""
LOOKS = 3
"""In a row without a worker's heartbeat before its link is given up."""
RANKINGS = 4096


class WorkerLost(Exception):
    """The connection to the worker ended while it had the call."""


class Busy(Exception):
    """The worker has not begun the call and won't."""


class Waiting(Protocol):
    """Who waits for an answer: a future, or what behaves as one."""

    def done(self) -> bool: ...

    def set_result(self, record: RunRecord, /) -> None: ...

    def set_exception(self, error: Exception, /) -> None: ...


class Link(asyncio.Protocol):
    """The connection to one worker."""

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.is_open = False
        self.waiting: dict[int, tuple[Waiting, float]] = {}
        """And when to give up, by `time.monotonic()`."""
        self._loop = asyncio.get_running_loop()
        self.greeting: asyncio.Future[None] = self._loop.create_future()
        """Done with the worker's first word, or OSError. Only then was this process let in: by TLS 1.3 the client's
        handshake is over before the server has looked at its certificate."""
        self._splitter = wire.Splitter()
        self._out: list[bytes] = []
        self._number = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by class.
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def send(self, head: bytes, event: bytes, give_up_at: float) -> asyncio.Future[RunRecord]:
        """A call on its way; the future gets its record, Busy or WorkerLost."""
        future: asyncio.Future[RunRecord] = self._loop.create_future()
        self.send_for(future, head, event, give_up_at)
        return future

    def send_for(self, waiting: Waiting, head: bytes, event: bytes, give_up_at: float) -> None:
        """As `send`, for somebody else's future. Calls made in the same turn of the loop share one system call."""
        self._number = number = (self._number + 1) & 0xFFFFFFFF
        self.waiting[number] = waiting, give_up_at
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(wire.encode(wire.CALL, number, head, event))

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self.is_open and out:
            wire.write_frames(self._transport, out)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, number, head, body in self._splitter.feed(data):
                if kind == wire.ANSWER:
                    self._answered(number, head, body)
                elif kind == wire.BUSY and (waiting := self.waiting.pop(number, None)) is not None:
                    _fail(waiting[0], Busy())
                elif kind == wire.HELLO and not self.greeting.done():
                    self.greeting.set_result(None)
        except wire.WireError:
            log.exception("a worker does not speak the direct lane's protocol", extra={"worker_id": self.worker_id})
            self.close()

    def _answered(self, number: int, head: bytes, output: bytes) -> None:
        waiting = self.waiting.pop(number, None)
        if waiting is None or (future := waiting[0]).done():
            return
        try:
            future.set_result(RunRecord.from_head(head, output))
        except (ValueError, TypeError, KeyError) as error:
            log.error("an answer can't be read", extra={"reason": type(error).__name__})
            future.set_exception(WorkerLost(f"The answer of the worker {self.worker_id} can't be read."))

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if not self.greeting.done():
            self.greeting.set_exception(error if isinstance(error, OSError) else ConnectionResetError("not let in"))
        waiting, self.waiting = self.waiting, {}
        for future, _ in waiting.values():
            _fail(future, WorkerLost(f"The worker {self.worker_id} was lost while this ran."))

    def give_up(self, now: float) -> None:
        """On calls that should have been answered long ago: the worker enforces every deadline itself."""
        for number, (future, give_up_at) in list(self.waiting.items()):
            if give_up_at < now:
                del self.waiting[number]
                _fail(future, WorkerLost(f"The worker {self.worker_id} gave no answer in time."))

    def close(self) -> None:
        if self.is_open:
            self._transport.close()


def _fail(future: Waiting, error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


class DirectLane:
    """The links of one web process. Lives in its event loop."""

    def __init__(self, settings: Config) -> None:
        self._settings = settings
        self._links: dict[str, Link] = {}
        self._warm: dict[str, frozenset[str]] = {}
        self._rankings: dict[str, list[str]] = {}
        self._not_before: dict[str, float] = {}
        self._missed: dict[str, int] = {}
        """Looks in a row that did not find a worker that there is a link to."""
        self._tls: ssl.SSLContext | None = None

    def __len__(self) -> int:
        """Calls under way."""
        return sum(len(link.waiting) for link in self._links.values())

    async def follow(self, living: Iterable[WorkerState]) -> None:
        """The fleet as it was last heard of: connect to who is new, let go of who is gone."""
        known, now = {worker.id: worker for worker in living}, time.monotonic()
        # A Redis that was started empty knows its workers again within a beat; a worker that died ends its connection.
        self._missed = {w: self._missed.get(w, 0) + 1 for w in self._links.keys() - known.keys()}
        for worker_id, link in list(self._links.items()):
            if not link.is_open or self._missed.get(worker_id, 0) >= LOOKS:
                # Its heartbeat has ended: what it still answers, if it lives, nobody can count on.
                link.close()
                del self._links[worker_id]
            link.give_up(now)
        strangers = [worker for worker in known.values() if worker.id not in self._links and worker.direct]
        # All at once: nodes that do not answer, CONNECT_SEC each, must not delay the news of who has died.
        await asyncio.gather(*map(self._join, strangers))
        self._warm = {worker.id: frozenset(worker.warm) for worker in known.values() if worker.id in self._links}
        self._rankings.clear()

    async def _join(self, worker: WorkerState) -> None:
        if time.monotonic() < self._not_before.get(worker.id, 0.0):
            return
        try:
            link = await asyncio.wait_for(self._connect(worker), CONNECT_SEC)
        except (OSError, TimeoutError, ssl.SSLError, ValueError) as error:
            self._not_before[worker.id] = time.monotonic() + AGAIN_SEC
            log.warning(
                "a worker can't be reached directly: its calls go by the queue",
                extra={"worker_id": worker.id, "reason": str(error)},
            )
            return
        if link is not None:
            self._not_before.pop(worker.id, None)
            self._links[worker.id] = link

    async def _connect(self, worker: WorkerState) -> Link | None:
        link = await self._call_on(worker)
        if link is not None:
            try:
                await link.greeting
            except BaseException:
                link.close()
                raise
        return link

    async def _call_on(self, worker: WorkerState) -> Link | None:
        loop = asyncio.get_running_loop()
        path = worker.direct.get("unix", "")
        if path and worker.node == self._settings.node:
            sock = unix_socket.connect(Path(path))
            unix_socket.widen(sock)
            sock.setblocking(False)
            return (await loop.create_unix_connection(lambda: Link(worker.id), sock=sock))[1]
        address = worker.direct.get("tcp", "")
        if not address or not mutual_tls.is_configured(self._settings):
            return None
        if self._tls is None:
            self._tls = mutual_tls.context(self._settings, ssl.Purpose.SERVER_AUTH)
        host, port = host_and_port(address)
        return (await loop.create_connection(lambda: Link(worker.id), host, port, ssl=self._tls))[1]

    async def call(self, message: CallMessage, event: bytes, give_up_at: float) -> RunRecord | None:
        """Its record; None when no worker takes it. Raises WorkerLost."""
        links = self._links
        if not links:
            return None
        head = message.to_head()
        for worker_id in self._order(message.function_id, message.version):
            link = links.get(worker_id)
            if link is None or not link.is_open:
                continue
            try:
                return await link.send(head, event, give_up_at)
            except Busy:
                continue
        return None

    def first(self, function_id: str, version: int) -> Link | None:
        """The link that a call of this version would go by; None when there is none."""
        links = self._links
        for worker_id in self._order(function_id, version):
            link = links.get(worker_id)
            if link is not None and link.is_open:
                return link
        return None

    def _order(self, function_id: str, version: int) -> Iterable[str]:
        links = self._links
        if len(links) < 2:
            return links
        key = f"{function_id}:{version}"
        ranked = self._rankings.get(key)
        if ranked is None:
            if len(self._rankings) >= RANKINGS:
                self._rankings.clear()
            warm = {worker for worker, versions in self._warm.items() if key in versions}
            ranked = self._rankings[key] = choice.ranking(key, links, warm)
        return choice.choose(ranked, {worker_id: len(link.waiting) for worker_id, link in links.items()})

    def close(self) -> None:
        for link in self._links.values():
            link.close()
