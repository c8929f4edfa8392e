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

import struct
from enum import IntEnum
from typing import Final

PROTOCOL: Final = 1
MAX_FRAME_BYTES: Final = 40 * 1024 * 1024
"""An event, a result and a log of the largest sizes that can be configured."""

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


class Splitter:
    """Cuts what arrives into frames."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now. Raises WireError."""
        if self._rest:
            self._rest += data
            # Most of a large frame is still to come: no need to look, and to copy, each time a piece arrives.
            if len(self._rest) < 4 or len(self._rest) < int.from_bytes(self._rest[:4], "big") + 4:
                _check(self._rest)
                return []
            data = bytes(self._rest)
            self._rest.clear()
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
            self._rest += data[at:]
        return frames


def _check(rest: bytearray) -> None:
    if len(rest) >= 4 and int.from_bytes(rest[:4], "big") > MAX_FRAME_BYTES:
        raise WireError("a frame is too large")
