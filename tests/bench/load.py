"""The load generator: keep-alive HTTP/1.1 by hand on asyncio, cheap enough not to be what is measured.

    python -m tests.bench.load URL_HOST PORT PATH CALLERS SECONDS [BODY_FILE] [HEADER: VALUE …]

runs as its own process and prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop


@dataclass(frozen=True, slots=True)
class Load:
    """What a burst of calls came to. Times in ms."""

    count: int
    seconds: float
    errors: int
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


class _Caller(asyncio.Protocol):
    """One connection, one request at a time, until the time is up."""

    def __init__(self, request: bytes, until: float, pause: float, done: asyncio.Future[None]) -> None:
        self._request = request
        self._until = until
        self._pause = pause
        self._done = done
        self._buffer = bytearray()
        self._left = -1
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by class.
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            self._status = head[9:12].decode()
            at = head.find(b"content-length:")
            length = int(head[at + 15 : head.find(b"\r\n", at) if head.find(b"\r\n", at) > 0 else None])
            self._left = length - (len(self._buffer) - end - 4)
            self._buffer.clear()
        else:
            self._left -= len(data)
        if self._left <= 0:
            self._answered()

    def _answered(self) -> None:
        self._left = -1
        now = time.perf_counter()
        self.latencies.append((now - self._began) * 1000)
        self.statuses[self._status] += 1
        if now >= self._until:
            self._transport.close()
        elif self._pause:
            asyncio.get_running_loop().call_later(self._pause, self._send)
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if time.perf_counter() < self._until:
            self.statuses["lost"] += 1
        if not self._done.done():
            self._done.set_result(None)


async def _run(
    host: str, port: int, request: bytes, callers: int, seconds: float, pause: float
) -> tuple[list[_Caller], float]:
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    until = began + seconds
    made: list[_Caller] = []
    ends: list[asyncio.Future[None]] = []
    for _ in range(callers):
        end = loop.create_future()
        caller = _Caller(request, until, pause, end)
        await loop.create_connection(lambda caller=caller: caller, host, port)
        made.append(caller)
        ends.append(end)
    await asyncio.gather(*ends)
    return made, time.perf_counter() - began


def request_bytes(host: str, port: int, path: str, body: bytes, headers: Sequence[str]) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}:{port}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def run_load(
    host: str,
    port: int,
    path: str,
    *,
    callers: int,
    seconds: float,
    body: bytes = b'{"name": "Nimbus"}',
    headers: Sequence[str] = (),
    pause: float = 0.0,
    body_file: Path | None = None,
) -> Load:
    """Run a burst from a process of its own. `pause` seconds lie between the calls of one caller."""
    command = [sys.executable, "-m", "tests.bench.load", host, str(port), path, str(callers), str(seconds), str(pause)]
    command += [str(body_file) if body_file else body.decode(), *headers]
    done = subprocess.run(command, check=True, capture_output=True, timeout=seconds + 120)
    told = json.loads(done.stdout)
    return Load(told["count"], told["seconds"], told["errors"], told["latencies"], told["statuses"])


def main(argv: list[str]) -> None:
    host, port, path, callers, seconds, pause, body, *headers = argv
    content = Path(body).read_bytes() if body.startswith("/") else body.encode()
    request = request_bytes(host, int(port), path, content, headers)
    made, took = uvloop.run(_run(host, int(port), request, int(callers), float(seconds), float(pause)))
    statuses: Counter[str] = Counter()
    latencies: list[float] = []
    for caller in made:
        statuses += caller.statuses
        latencies += caller.latencies
    errors = sum(n for status, n in statuses.items() if not status.startswith("2"))
    told = {"count": len(latencies), "seconds": took, "errors": errors, "statuses": statuses}
    print(json.dumps(told | {"latencies": [round(x, 4) for x in latencies]}))


if __name__ == "__main__":
    main(sys.argv[1:])
