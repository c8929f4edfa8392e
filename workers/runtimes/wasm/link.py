"""The runner's end of the connection to the driver (`../PROTOCOL.md`): frames, and the user's output as LOG frames."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from typing import Any

HELLO, LOAD, LOADED, INVOKE, LOG, RESULT, FAULT, PING, PONG = range(1, 10)
EXIT_DISCONNECTED = 76
"""Exit code when the connection to the driver is gone, which ends the runner."""
CHUNK = 64 * 1024
TAIL_BYTES = 66 * 1024

_PREFIX = struct.Struct(">IBI")
_SIZE = struct.Struct(">I").unpack_from
_LOG_BYTES = 1 << 20
_PANIC = b"panicked at"

_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
encode_head = json.JSONEncoder(separators=(",", ":")).encode


class Link:
    """Frames over the driver's socket; one thread."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(path)
        self._buffer = bytearray()

    def send(self, kind: int, head: str, body: bytes = b"") -> None:
        """`head` is JSON text. Ends the process when nobody listens any more."""
        header = head.encode()
        prefix = _PREFIX.pack(5 + len(header) + len(body), kind, len(header)) + header
        try:
            if len(body) <= CHUNK:
                self._socket.sendall(prefix + body)
            else:
                self._socket.sendall(prefix)
                self._socket.sendall(body)
        except OSError:
            os._exit(EXIT_DISCONNECTED)

    def receive(self) -> tuple[int, dict[str, Any], bytes]:
        """Type, header and body of the next frame. Ends the process when there is none."""
        buffer = self._buffer
        if not buffer:
            data = self._more(CHUNK)
            if len(data) >= 9 and _SIZE(data)[0] + 4 == len(data):
                return _parts(data)  # whole and alone, as mostly
            buffer += data
        while len(buffer) < 4 or len(buffer) < int.from_bytes(buffer[:4], "big") + 4:
            want = int.from_bytes(buffer[:4], "big") + 4 - len(buffer) if len(buffer) >= 4 else CHUNK
            buffer += self._more(min(max(want, CHUNK), 4 * CHUNK))
        end = int.from_bytes(buffer[:4], "big") + 4
        frame = bytes(buffer[:end])
        del buffer[:end]
        return _parts(frame)

    def _more(self, size: int) -> bytes:
        try:
            data = self._socket.recv(size)
        except OSError:
            data = b""
        if not data:
            os._exit(EXIT_DISCONNECTED)
        return data


def _parts(frame: bytes) -> tuple[int, dict[str, Any], bytes]:
    _, kind, head_size = _PREFIX.unpack_from(frame)
    body_at = 9 + head_size
    return kind, _head(frame[9:body_at]), frame[body_at:]


def _head(text: bytes) -> dict[str, Any]:
    """The driver writes it without blanks around."""
    return _scan(text.decode(), 0)[0] if text else {}


class Output:
    """What a call prints, within its budget: whole lines at once, an unfinished one at the call's end."""

    def __init__(self, link: Link, call_id: str, limit: int) -> None:
        self._link = link
        self.head = f'{{"id":{encode_head(call_id)},'
        self._limit = self._left = limit
        self._parts = {"stdout": b"", "stderr": b""}
        self._full = False
        self._tail = bytearray()
        self._panic = bytearray()

    def stdout(self, data: bytes) -> None:
        self._write("stdout", data)

    def stderr(self, data: bytes) -> None:
        self._remember(data)
        self._write("stderr", data)

    def _write(self, stream: str, data: bytes) -> None:
        if self._full:
            return
        lines, newline, rest = (self._parts[stream] + data).rpartition(b"\n")
        self._parts[stream] = rest
        if newline:
            self._emit(stream, lines + newline)
        if len(rest) > self._left:
            self._parts[stream] = b""
            self._emit(stream, rest)

    @property
    def last_words(self) -> bytes:
        """What a language's own runtime said as it gave up, else the end of stderr; also when the log is full."""
        return bytes(self._panic[:TAIL_BYTES] or self._tail[-TAIL_BYTES:])

    def _remember(self, data: bytes) -> None:
        """Wherever the stream was cut into pieces."""
        seen = len(self._tail)
        self._tail += data
        if self._panic:
            if len(self._panic) < TAIL_BYTES:
                self._panic += data
        elif (at := self._tail.find(_PANIC, max(0, seen - len(_PANIC)))) >= 0:
            self._panic += self._tail[at:]
        if len(self._tail) > 2 * TAIL_BYTES:
            del self._tail[:-TAIL_BYTES]

    def end(self) -> None:
        for stream, rest in self._parts.items():
            if rest:
                self._emit(stream, rest)

    def _emit(self, stream: str, data: bytes) -> None:
        if self._full:
            return
        if len(data) <= self._left:
            self._left -= len(data)
            self._send(stream, data)
            return
        self._full = True
        kept = data[: self._left]
        self._send(stream, kept if kept.endswith(b"\n") or not kept else kept + b"\n")
        self._send("stderr", f"Nimbus: output cut, more than {self._limit} bytes in one call\n".encode())

    def _send(self, stream: str, data: bytes) -> None:
        at_ms = int(time.time() * 1000)
        for at in range(0, len(data), _LOG_BYTES):
            head = f'{self.head}"stream":"{stream}","at_ms":{at_ms}}}'
            self._link.send(LOG, head, data[at : at + _LOG_BYTES])
