"""A load that costs next to nothing to make: HTTP/1.1 on kept connections, written by hand on asyncio's streams."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

KEPT_SEC = 3.0
Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter, float]
"""With the time of its last use."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One call's end, on this machine's monotonic clock (seconds)."""

    began: float
    ended: float
    status: int
    """0: none came."""
    version: int | None
    body: Any
    """What the function returned."""
    text: str
    """Of the whole answer when the call did not succeed."""
    can_be_retried: bool = False
    """It said `Retry-After`."""


class Wires:
    """Connections to one web process: as many as there are calls at once, each used again."""

    def __init__(self, base: str) -> None:
        url = urlsplit(base)
        self._host, self._port, self._prefix = url.hostname, url.port, url.path
        self._idle: list[Wire] = []
        self.made = 0

    async def call(self, path: str, event: Any, **headers: str) -> Answer:
        began = time.monotonic()
        body = json.dumps(event).encode()
        lines = [f"POST {self._prefix}{path} HTTP/1.1", f"Host: {self._host}:{self._port}"]
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            status, answer, again = await self._exchange("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        except (OSError, EOFError) as error:
            return Answer(began, time.monotonic(), 0, None, None, repr(error))
        told = json.loads(answer)
        text = "" if status == 200 else answer.decode()
        return Answer(began, time.monotonic(), status, told.get("version"), told.get("body"), text, again)

    async def _exchange(self, request: bytes) -> tuple[int, bytes, bool]:
        reader, writer = await self._wire()
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            answer = await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer, time.monotonic()))
        return int(head[9:12]), answer, b"\r\nretry-after:" in head

    async def _wire(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The one used last, or a new one."""
        while self._idle:
            reader, writer, since = self._idle.pop()
            # The server hangs up on who says nothing for five seconds; what is sent at that moment is lost.
            if time.monotonic() - since < KEPT_SEC and not reader.at_eof():
                return reader, writer
            writer.close()
        self.made += 1
        return await asyncio.open_connection(self._host, self._port)

    async def close(self) -> None:
        for _, writer, _ in self._idle:
            writer.close()
            await writer.wait_closed()


async def paced(
    bases: list[str], path: str, rate: float, until: Callable[[float], bool], limit_sec: float, **headers: str
) -> list[Answer]:
    """`rate` calls a second, whatever the answers take, over the addresses in turn; the event of each has its number as
    `n`. Ends when `until(seconds since the start)` is true: it runs in a thread of its own after each 50 ms."""
    wires = [Wires(base) for base in bases]
    began, calls = time.monotonic(), list[asyncio.Task[Answer]]()
    watch = asyncio.create_task(_watch(until, began, limit_sec))
    while not watch.done():
        number = len(calls)
        calls.append(asyncio.create_task(wires[number % len(wires)].call(path, {"n": number}, **headers)))
        await asyncio.sleep(max(0.0, began + len(calls) / rate - time.monotonic()))
    await watch
    answers = await asyncio.gather(*calls)
    for one in wires:
        await one.close()
    return list(answers)


async def _watch(until: Callable[[float], bool], began: float, limit_sec: float) -> None:
    while not await asyncio.to_thread(until, time.monotonic() - began):
        assert time.monotonic() - began < limit_sec, f"the load went on for {limit_sec} s in vain"
        await asyncio.sleep(0.05)


async def at_once(bases: list[str], jobs: list[tuple[str, dict[str, str]]], callers: int) -> list[Answer]:
    """Calls of these paths with these headers, so many at a time, over the addresses in turn."""
    wires = [Wires(base) for base in bases]
    gate = asyncio.Semaphore(callers)

    async def one(number: int, path: str, headers: dict[str, str]) -> Answer:
        async with gate:
            return await wires[number % len(wires)].call(path, {"n": number}, **headers)

    answers = await asyncio.gather(*(one(n, path, headers) for n, (path, headers) in enumerate(jobs)))
    for each in wires:
        await each.close()
    return list(answers)


def rate_of(answers: list[Answer]) -> float:
    """Calls that began, per second."""
    begun = sorted(answer.began for answer in answers)
    return (len(begun) - 1) / (begun[-1] - begun[0])
