"""What a start needs of the machine: the folder for itself, a short enough socket path, a free port."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
from pathlib import Path
from typing import IO

from nimbus_project.supervisor.redis_server import MAX_SOCKET_PATH_BYTES

BACKLOG = 2048
HOPELESS = {errno.EADDRINUSE: "is in use by another program", errno.EACCES: "needs rights that this user does not have"}


class StartError(Exception):
    """The platform can't start; one sentence for a person."""


class Tenancy:
    """This folder's only supervisor. The kernel lets go of the lock when the process ends, however it ends."""

    def __init__(self, var_dir: Path) -> None:
        """Raises StartError when another one lives here."""
        self._run_dir = var_dir / "run"
        self._run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file: IO[str] = (self._run_dir / "supervisor.lock").open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            tenant = self._file.read().strip() or "another process"
            self._file.close()
            raise StartError(
                f"Nimbus already runs on {var_dir} ({tenant}). Stop it first, or give this one a folder of its own "
                "with NIMBUS_VAR_DIR, and a port with NIMBUS_PORT."
            ) from None
        self._file.truncate(0)
        self._file.write(f"pid {os.getpid()}\n")
        self._file.flush()

    def fresh_folder(self, name: str) -> Path:
        """An empty folder below `var`/run; what a run before left there is removed."""
        folder = self._run_dir / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def leave(self) -> None:
        self._file.truncate(0)
        self._file.close()


def check_socket_path(path: Path) -> None:
    """Raises StartError."""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise StartError(
            f"The path of Redis's socket, {path}, is longer than the {MAX_SOCKET_PATH_BYTES} bytes that the system "
            "allows. Set NIMBUS_VAR_DIR to a folder with a shorter path."
        )


def listen(host: str, port: int) -> socket.socket:
    """The socket that all web processes accept from. Raises StartError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # Connections inherit it. The server takes an inherited socket for a Unix one and would leave Nagle's algorithm
        # on: each answer of two writes then waits 40 ms for the client's delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        reason = HOPELESS.get(error.errno or 0, f"can't be used: {error.strerror}")
        raise StartError(f"Port {port} of {host} {reason}. Choose another with NIMBUS_PORT.") from None
