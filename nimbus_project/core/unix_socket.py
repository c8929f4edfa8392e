"""Unix sockets whose path may be longer than a socket's address can be (104 to 108 bytes, as the system likes)."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LONGEST_PATH = 100
ROOM_BYTES = 1024 * 1024
"""What one side may have sent that the other has not read: a large frame then costs few wakes of both. The system may
allow less (net.core.wmem_max)."""


def bind(sock: socket.socket, path: Path) -> None:
    """Raises OSError."""
    with _address(path) as address:
        sock.bind(address)


def connect(path: Path) -> socket.socket:
    """A stream socket, connected. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(path) as address:
            sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def widen(sock: Any) -> None:
    """Room for a large frame in what this end sends; a Unix socket has but 208 KiB by itself. Others know better."""
    if sock is not None and sock.family == socket.AF_UNIX:
        with suppress(OSError):  # the other end is gone: whoever reads will see that
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM_BYTES)


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path, or a short way to it: by the descriptor of its folder."""
    if len(os.fsencode(path)) <= LONGEST_PATH or not Path("/proc/self/fd").is_dir():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
