"""The frames between driver and runner (`runtimes/PROTOCOL.md`): encode, decode, send and receive by a deadline.

Nothing that arrives is believed: a size, a header length or JSON that the protocol does not allow is a `FrameError`.
Knows the shape of frames, not their order.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

import orjson

PROTOCOL: Final = 1
EXIT_DISCONNECTED: Final = 76
"""A runner whose connection is gone exits with this code."""
MAX_FRAME_BYTES: Final = 16 * 1024 * 1024
"""Most that a frame's size field may say."""
BUFFER_BYTES: Final = 64 * 1024
"""One read takes up to so much; a frame above it is read straight into memory of its own."""

_PREFIX: Final = struct.Struct(">IBI")
_FIXED: Final = _PREFIX.size - 4
"""Bytes of `size` that are not header or body: type and head_size."""


class Kind(IntEnum):
    """Types of frames."""

    HELLO = 1
    LOAD = 2
    LOADED = 3
    INVOKE = 4
    LOG = 5
    RESULT = 6
    FAULT = 7
    PING = 8
    PONG = 9


class FrameError(Exception):
    """The other side sent what is no frame. The message is fit for a user's eyes."""


class ConnectionEnded(Exception):
    """The other side is gone: end of file, also in the middle of a frame."""


_KINDS: Final = (None, *Kind)
"""By number: to ask an enum for one of its members takes ten times as long."""
_FIRST, _LAST = int(min(Kind)), int(max(Kind))


# A value, treated as frozen; a dataclass that is frozen indeed takes three times as long to make, on each call's path.
@dataclass(slots=True)
class Frame:
    """One frame. `head` is a JSON object whose values are not checked yet."""

    kind: Kind
    head: dict[str, Any] = field(default_factory=dict)
    body: bytes = b""


def encode(kind: Kind, head: Mapping[str, object], body: bytes = b"") -> bytes:
    """The bytes of one frame. Raises ValueError when it would be above MAX_FRAME_BYTES."""
    return encode_prefix(kind, head, len(body)) + body


def encode_prefix(kind: Kind, head: Mapping[str, object], body_bytes: int) -> bytes:
    """All of a frame but its body of `body_bytes` bytes. Raises ValueError as `encode` does."""
    header = orjson.dumps(head)
    size = _FIXED + len(header) + body_bytes
    if size > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {size} bytes is above the protocol's {MAX_FRAME_BYTES}")
    return _PREFIX.pack(size, kind, len(header)) + header


def frame_bytes(data: bytes | bytearray | memoryview, at: int = 0) -> int:
    """Length of the whole frame whose first 9 bytes are there. Raises FrameError."""
    size, kind, head_size = _PREFIX.unpack_from(data, at)
    if size > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {size} bytes is above the limit of {MAX_FRAME_BYTES}")
    if size < _FIXED or head_size > size - _FIXED:
        raise FrameError("a frame's sizes contradict each other")
    if not _FIRST <= kind <= _LAST:
        raise FrameError(f"there is no frame of type {kind}")
    return int(size) + 4


def decode(data: bytes | bytearray | memoryview) -> Frame:
    """One whole frame, neither more nor less. Raises FrameError."""
    if len(data) < _PREFIX.size or frame_bytes(data) != len(data):
        raise FrameError("a frame's sizes contradict each other")
    return _decode(memoryview(data), 0, len(data))


def _decode(view: memoryview, at: int, end: int) -> Frame:
    """A frame whose prefix has been checked."""
    _, kind, head_size = _PREFIX.unpack_from(view, at)
    head_at = at + _PREFIX.size
    body_at = head_at + head_size
    return Frame(_KINDS[kind], _decode_head(view[head_at:body_at]), bytes(view[body_at:end]))


def _decode_head(header: memoryview) -> dict[str, Any]:
    if not header:
        return {}
    try:
        head = orjson.loads(header)
    except orjson.JSONDecodeError:
        raise FrameError("a frame's header is not JSON") from None
    if not isinstance(head, dict):
        raise FrameError("a frame's header is not a JSON object")
    return head


class FrameStream:
    """Frames over one connected stream socket, which it owns. One sender and one receiver at a time.

    Deadlines are points of `time.monotonic()`; past them, TimeoutError, and the stream is not usable any more.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.fileno = sock.fileno
        """Of the socket; -1 when it is closed."""
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._unsent: bytes | memoryview = b""
        self._large: bytearray | None = None
        """A frame above the buffer that `take` has a part of."""
        self._large_end = 0
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def send(self, kind: Kind, head: Mapping[str, object], body: bytes, deadline: float) -> None:
        """Raises TimeoutError, ConnectionEnded, ValueError (too large)."""
        prefix = encode_prefix(kind, head, len(body))
        try:
            self._wait_until(deadline)
            if len(body) <= BUFFER_BYTES:
                self._socket.sendall(prefix + body)
                return
            self._socket.sendall(prefix)
            self._wait_until(deadline)
            self._socket.sendall(body)
        except TimeoutError:
            raise
        except OSError as error:
            raise ConnectionEnded(str(error)) from None

    def receive(self, deadline: float) -> Frame:
        """The next frame. Raises TimeoutError, ConnectionEnded, FrameError."""
        while self._end - self._start < _PREFIX.size:
            self._fill(deadline)
        length = frame_bytes(self._view, self._start)
        if length > BUFFER_BYTES:
            return self._receive_large(length, deadline)
        while self._end - self._start < length:
            self._fill(deadline)
        return self._next(length)

    # -- the same without waiting, for an event loop that knows when the descriptor is ready

    def post(self, kind: Kind, head: Mapping[str, object], body: bytes) -> bool:
        """Send what the socket takes now; True when that was all, else `push` on. Raises ConnectionEnded, ValueError
        (too large)."""
        data = encode_prefix(kind, head, len(body)) + body
        if self._socket.gettimeout() is None:
            self._socket.setblocking(False)
        self._unsent = data
        return self.push()

    def push(self) -> bool:
        """Send more of what `post` could not. True when that was all. Raises ConnectionEnded."""
        unsent = self._unsent
        try:
            while unsent:
                sent = os.write(self.fileno(), unsent)
                unsent = memoryview(unsent)[sent:] if sent < len(unsent) else b""
        except BlockingIOError:
            pass
        except OSError as error:
            raise ConnectionEnded(str(error)) from None
        self._unsent = unsent
        return not unsent

    def take(self) -> Frame | None:
        """The next frame if it is whole by now. Raises ConnectionEnded, FrameError."""
        while True:
            have = self._end - self._start
            if self._large is None and have >= _PREFIX.size:
                length = frame_bytes(self._view, self._start)
                if length <= have:
                    return self._next(length)
                if length > BUFFER_BYTES:
                    self._large = bytearray(length)
                    self._large[:have] = self._view[self._start : self._end]
                    self._large_end, self._start, self._end = have, 0, 0
            if not self._take_more():
                return None
            if self._large is not None and self._large_end == len(self._large):
                whole, self._large = self._large, None
                return decode(whole)

    def _next(self, length: int) -> Frame:
        """The one that is whole in the buffer."""
        at, self._start = self._start, self._start + length
        return _decode(self._view, at, self._start)

    def _take_more(self) -> bool:
        """Read what is there. False when that is nothing."""
        if self._large is not None:
            view = memoryview(self._large)[self._large_end :]
        else:
            self._make_room()
            view = self._view[self._end :] if self._end else self._view
        try:
            count = os.readv(self.fileno(), [view])
        except BlockingIOError:
            return False
        except OSError as error:
            raise ConnectionEnded(str(error)) from None
        if not count:
            raise ConnectionEnded("end of file")
        if self._large is not None:
            self._large_end += count
        else:
            self._end += count
        return True

    def idle(self) -> bool:
        """Nothing has arrived and the other side has not hung up."""
        return self._start == self._end and not self._poll.poll(0)

    def shutdown(self) -> None:
        """End the conversation: a `receive` in another thread raises ConnectionEnded. The descriptor stays open."""
        with suppress(OSError):  # the other side was quicker
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back. Only when no other thread is inside `send` or `receive`. Idempotent."""
        self._socket.close()

    def _fill(self, deadline: float) -> None:
        self._make_room()
        self._end += self._read_into(self._view[self._end :], deadline)

    def _make_room(self) -> None:
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start:
            rest = self._end - self._start
            self._view[:rest] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, rest

    def _receive_large(self, length: int, deadline: float) -> Frame:
        data = bytearray(length)
        view = memoryview(data)
        have = self._end - self._start
        view[:have] = self._view[self._start : self._end]
        self._start = self._end = 0
        while have < length:
            have += self._read_into(view[have:], deadline)
        return decode(data)

    def _read_into(self, view: memoryview, deadline: float) -> int:
        self._wait_until(deadline)
        try:
            count = self._socket.recv_into(view)
        except TimeoutError:
            raise
        except OSError as error:
            raise ConnectionEnded(str(error)) from None
        if not count:
            raise ConnectionEnded("end of file")
        return count

    def _wait_until(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline passed")
        self._socket.settimeout(left)
