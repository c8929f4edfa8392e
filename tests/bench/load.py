"""The load generator: keep-alive HTTP/1.1 by hand on asyncio, cheap enough not to be what is measured.

`python -m tests.bench.load` runs as its own process: an `Order` as JSON on stdin, what it came to as JSON on stdout.
Each caller has one connection and one request at a time: the next is sent when the answer is there, whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import cast

import uvloop

HEAD_END = b"\r\n\r\n"
PATIENCE_SEC = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to send. It ends after `seconds`, or after about `calls`, whichever is first."""

    port: int
    path: str
    callers: int
    seconds: float
    calls: int = 0
    """0: as many as there are in the time."""
    pause: float = 0.0
    """Seconds between the calls of one caller."""
    body: str = '{"name": "Nimbus"}'
    headers: tuple[str, ...] = ()
    """Lines."""
    host: str = "127.0.0.1"
    secret: str = ""
    """Each body has a number of its own, and is signed as GitHub does."""

    def requests(self) -> Iterator[bytes]:
        """Without end."""
        if not self.secret:
            return itertools.repeat(self._request(self.body.encode(), ()))
        numbered = (b'{"number": %d}' % number for number in itertools.count(time.time_ns()))
        return (self._request(body, (f"X-Hub-Signature-256: sha256={self._digest(body)}",)) for body in numbered)

    def _digest(self, body: bytes) -> str:
        return hmac.digest(self.secret.encode(), body, hashlib.sha256).hex()

    def _request(self, body: bytes, more: tuple[str, ...]) -> bytes:
        lines = [
            f"POST {self.path} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *self.headers,
            *more,
        ]
        return "\r\n".join(lines).encode() + HEAD_END + body


@dataclass(frozen=True, slots=True)
class Load:
    """What a burst of calls came to. Times in ms."""

    count: int
    """Answers, whatever they say."""
    seconds: float
    errors: int
    """Answers other than 2xx, and connections lost."""
    received: int
    """Bytes of the answers' bodies."""
    cpu_sec: float
    """Of the load generator itself."""
    latencies: list[float] = field(repr=False)
    statuses: dict[str, int] = field(default_factory=dict)

    @property
    def per_sec(self) -> float:
        return self.count / self.seconds if self.seconds else 0.0

    def quantile(self, q: float) -> float:
        return quantile(self.latencies, q)


def quantile(values: Sequence[float], q: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * q))] if ordered else float("nan")


class Caller(asyncio.Protocol):
    """One connection, one request at a time, until the time is up or it has made its `calls`."""

    def __init__(
        self, request: Callable[[], bytes], until: float, calls: int, pause: float, done: asyncio.Future[None]
    ) -> None:
        self._request = request
        self._until = until
        self._calls = calls
        self._pause = pause
        self._done = done
        self._head = b""
        """Of an answer whose head has not come whole yet."""
        self._left = -1
        """Bytes of the body to come; -1: no head yet."""
        self._status = ""
        self._is_over = False
        self.received = 0
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by class.
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        request = self._request()
        self._began = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            if self._head:
                data = self._head + data
            end = data.find(HEAD_END)
            if end < 0:
                self._head = data
                return
            self._head = b""
            self._status = data[9:12].decode("latin-1")
            length = content_length(data, end)
            self._left = length - (len(data) - end - len(HEAD_END))
            self.received += length
            if length < 0:
                self._left = -1
        else:
            self._left -= len(data)
        if self._left == 0:
            self._answered()
        elif self._left < 0:
            # No length, or more than was asked for.
            self._give_up("unreadable")

    def _answered(self) -> None:
        now = time.perf_counter()
        self._left = -1
        self.latencies.append((now - self._began) * 1000)
        self.statuses[self._status] += 1
        if now >= self._until or len(self.latencies) == self._calls:
            self._is_over = True
            self._transport.close()
        elif self._pause:
            asyncio.get_running_loop().call_later(self._pause, self._send)
        else:
            self._send()

    def _give_up(self, status: str) -> None:
        self.statuses[status] += 1
        self._is_over = True
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._is_over:
            self.statuses["lost"] += 1
        if not self._done.done():
            self._done.set_result(None)


def content_length(data: bytes, end: int) -> int:
    """As the head, which ends at `end`, says; -1 when it does not."""
    at = data.find(b"\r\ncontent-length:", 0, end)
    if at < 0:
        at = data.lower().find(b"\r\ncontent-length:", 0, end)
        if at < 0:
            return -1
    return int(data[at + 17 : data.find(b"\r\n", at + 17, end + 2)])


def _same(caller: Caller) -> Caller:
    return caller


async def call_all(order: Order) -> tuple[list[Caller], float]:
    """All callers, and the seconds they took."""
    loop = asyncio.get_running_loop()
    request, calls = order.requests().__next__, -(-order.calls // order.callers) or -1
    began = time.perf_counter()
    callers: list[Caller] = []
    ends: list[asyncio.Future[None]] = []
    for _ in range(order.callers):
        end = loop.create_future()
        caller = Caller(request, began + order.seconds, calls, order.pause, end)
        await loop.create_connection(partial(_same, caller), order.host, order.port)
        callers.append(caller)
        ends.append(end)
    async with asyncio.timeout(order.seconds + PATIENCE_SEC):
        await asyncio.gather(*ends)
    return callers, time.perf_counter() - began


def run_load(order: Order) -> Load:
    """Run a burst from a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.load"],
        input=json.dumps(asdict(order)).encode(),
        stdout=subprocess.PIPE,
        check=True,
        timeout=order.seconds + 2 * PATIENCE_SEC,
    )
    return Load(**json.loads(done.stdout))


def measure(order: Order) -> Load:
    """In this process."""
    began = _cpu_sec()
    callers, seconds = uvloop.run(call_all(order))
    cpu_sec = _cpu_sec() - began
    statuses: Counter[str] = Counter()
    latencies: list[float] = []
    for caller in callers:
        statuses += caller.statuses
        latencies += caller.latencies
    return Load(
        count=len(latencies),
        seconds=seconds,
        errors=sum(n for status, n in statuses.items() if not status.startswith("2")),
        received=sum(caller.received for caller in callers),
        cpu_sec=cpu_sec,
        latencies=[round(x, 4) for x in latencies],
        statuses=dict(statuses),
    )


def _cpu_sec() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    given = json.load(sys.stdin)
    told = json.dumps(asdict(measure(Order(**given | {"headers": tuple(given["headers"])}))))
    # Not `print`: where Python is told not to buffer, what a pipe did not take at once would be lost.
    with open(1, "w", closefd=False) as out:
        out.write(told)
