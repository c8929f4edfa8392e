"""The direct lane's frames, between a web process and a worker: one connection, many calls.

```
 u32 size       of all that follows
 u8  kind
 u32 call       the caller's number for it; answers carry the same one
 u32 head_size
 head           JSON
 body           the rest: raw bytes
```

Big-endian. Both ends are Nimbus's own and know each other (a private socket, or TLS with certificates on both sides),
yet a frame above `MAX_FRAME_BYTES` ends the connection: it can only be a mistake.
"""

from __future__ import annotations

import asyncio
import struct
from enum import IntEnum
from typing import Final

PROTOCOL: Final = 1
MAX_FRAME_BYTES: Final = 40 * 1024 * 1024
"""An event, a result and a log of the largest sizes that can be configured."""

LARGE_BYTES: Final = 64 * 1024
"""From here on a copy costs more than the call that it saves."""

_PREFIX: Final = struct.Struct(">IBII")
_FIXED: Final = _PREFIX.size - 4


class Kind(IntEnum):
    """What a frame says."""

    HELLO = 1
    """From the worker, first: ``{protocol, worker}``."""
    CALL = 2
    """To the worker. Head: a `CallMessage` as a list; body: the event."""
    ANSWER = 3
    """From the worker: how the call ended. Head: a `RunRecord`'s; body: the output."""
    BUSY = 4
    """From the worker: it has not begun the call and won't."""


HELLO, CALL, ANSWER, BUSY = (int(kind) for kind in Kind)

Frame = tuple[int, int, bytes, bytes]
"""Kind, call, head, body."""


class WireError(Exception):
    """The other side does not speak this protocol."""


def encode(kind: int, call: int, head: bytes, body: bytes = b"") -> bytes:
    """One frame."""
    return b"".join((_PREFIX.pack(_FIXED + len(head) + len(body), kind, call, len(head)), head, body))


def write_frames(transport: asyncio.WriteTransport, frames: list[bytes]) -> None:
    """All at once: small ones as one piece, large ones without a copy that puts them together."""
    if len(frames) == 1:
        transport.write(frames[0])
    elif max(map(len, frames)) > LARGE_BYTES:
        transport.writelines(frames)
    else:
        transport.write(b"".join(frames))


class Splitter:
    """Cuts what arrives into frames."""

    __slots__ = ("_have", "_parts", "_rest", "_whole")

    def __init__(self) -> None:
        self._rest = b""
        """The beginning of a frame, while it is small."""
        self._parts: list[bytes] = []
        """Of a large one; put together once, when its last byte is there."""
        self._have = self._whole = 0
        """Bytes of them, and of their frame."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now. Raises WireError."""
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._whole:
                return []
            data = b"".join(self._parts)
            self._parts.clear()
        elif self._rest:
            data = self._rest + data
            self._rest = b""
        frames: list[Frame] = []
        at, length = 0, len(data)
        while length - at >= _PREFIX.size:
            size, kind, call, head_size = _PREFIX.unpack_from(data, at)
            end = at + 4 + size
            if size > MAX_FRAME_BYTES or head_size > size - _FIXED:
                raise WireError("a frame's sizes contradict each other")
            if end > length:
                break
            body_at = at + _PREFIX.size + head_size
            frames.append((kind, call, data[at + _PREFIX.size : body_at], data[body_at:end]))
            at = end
        if at < length:
            self._keep(data[at:] if at else data)
        return frames

    def _keep(self, rest: bytes) -> None:
        """The beginning of a frame. Raises WireError."""
        _check(rest)
        if len(rest) >= 4 and (whole := int.from_bytes(rest[:4], "big") + 4) > LARGE_BYTES:
            self._parts.append(rest)
            self._have, self._whole = len(rest), whole
        else:
            self._rest = rest


def _check(rest: bytes) -> None:
    if len(rest) >= 4 and int.from_bytes(rest[:4], "big") > MAX_FRAME_BYTES:
        raise WireError("a frame is too large")
