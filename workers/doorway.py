"""Where a runner knocks: listen on a private Unix socket, accept one connection, read its HELLO by a deadline."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from nimbus_project.core import unix_socket
from workers.frames import PROTOCOL, ConnectionEnded, FrameError, FrameStream, Kind
from workers.sandbox import SandboxError

_LOOK_SEC = 0.05
"""How often `admit` asks whether the runner is still there."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What a runner says of itself; believed only for display."""

    runtime: str
    language_version: str
    pid: int
    """In the runner's own pid namespace."""


class Doorway:
    """A listening socket at `path` for one runner. Use as a context manager: the file goes with it."""

    def __init__(self, path: Path, mode: int = 0o600) -> None:
        """Listen. Raises OSError."""
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            unix_socket.bind(self._socket, path)
            path.chmod(mode)
            self._socket.listen(1)
        except OSError:
            self._socket.close()
            raise

    def admit(self, deadline: float, gone: Callable[[], str | None] | None = None) -> tuple[FrameStream, Hello]:
        """The first connection, once it has said HELLO.

        `gone` is asked now and then and answers with a sentence when the runner can't come any more.
        Raises SandboxError.
        """
        stream = FrameStream(self._accept(deadline, gone))
        try:
            return stream, _read_hello(stream, deadline)
        except (TimeoutError, ConnectionEnded, FrameError) as error:
            stream.close()
            why = (gone and gone()) or f"its greeting failed: {error}"
            raise SandboxError(f"The sandbox did not start: {why}.") from None

    def close(self) -> None:
        """Stop listening and remove the file. Idempotent."""
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self, deadline: float, gone: Callable[[], str | None] | None) -> socket.socket:
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise SandboxError("The sandbox did not start in time: its runner never connected.")
            self._socket.settimeout(min(left, _LOOK_SEC))
            with suppress(TimeoutError):
                sock = self._socket.accept()[0]
                unix_socket.widen(sock)
                return sock
            why = gone() if gone else None
            if why:
                raise SandboxError(f"The sandbox did not start: {why}.")


def _read_hello(stream: FrameStream, deadline: float) -> Hello:
    frame = stream.receive(deadline)
    if frame.kind is not Kind.HELLO:
        raise FrameError(f"the first frame was {frame.kind.name}, not HELLO")
    if frame.head.get("protocol") != PROTOCOL:
        raise FrameError(f"the runner speaks protocol {frame.head.get('protocol')!r}, not {PROTOCOL}")
    pid = frame.head.get("pid")
    return Hello(
        runtime=str(frame.head.get("runtime", ""))[:64],
        language_version=str(frame.head.get("language_version", ""))[:64],
        pid=pid if isinstance(pid, int) else 0,
    )
