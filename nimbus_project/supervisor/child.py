"""One child process: its start, its lines of output, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from nimbus_project.config import ROOT
from nimbus_project.supervisor.parts import Part
from nimbus_project.supervisor.tether import tether

MAX_LINE_BYTES = 256 * 1024
_CHUNK_BYTES = 64 * 1024


class Child:
    """Running from its making on. In a session of its own: Ctrl-C in the terminal reaches the supervisor only."""

    def __init__(self, part: Part, env: dict[str, str]) -> None:
        """Raises OSError when the program can't be started."""
        self.part = part
        self.started_at = time.monotonic()
        self._rest = b""
        output = None if part.has_terminal else subprocess.PIPE
        self.process = subprocess.Popen(
            part.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if part.has_terminal else subprocess.STDOUT,
            start_new_session=True,
            # Safe: the supervisor has no other thread.
            preexec_fn=tether(part.death_signal),
            pass_fds=part.fds,
            env={**os.environ, **env, **part.env},
            cwd=ROOT,
        )
        if self.process.stdout is not None:
            os.set_blocking(self.process.stdout.fileno(), False)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def age_sec(self) -> float:
        return time.monotonic() - self.started_at

    def lines(self) -> list[str] | None:
        """The whole lines that have come since the last time; None once no more can come."""
        assert self.process.stdout is not None
        try:
            chunk = os.read(self.process.stdout.fileno(), _CHUNK_BYTES)
        except BlockingIOError:
            return []
        return self._split(chunk) if chunk else None

    def last_lines(self) -> list[str]:
        """What is left in the pipe of a child that has ended, which a grandchild may still hold open."""
        if self.process.stdout is None:
            return []
        found: list[str] = []
        try:
            while chunk := os.read(self.process.stdout.fileno(), _CHUNK_BYTES):
                found += self._split(chunk)
        except BlockingIOError:
            pass
        if self._rest:
            found += self._split(b"\n")
        self.process.stdout.close()
        return found

    def send(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """The process and what is left of its session's group."""
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)

    def _split(self, chunk: bytes) -> list[str]:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            whole, self._rest = [*whole, self._rest], b""
        return [line.decode(errors="replace") for line in whole]


def how_it_ended(code: int) -> str:
    """In words: `exit code 3`, `signal SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
