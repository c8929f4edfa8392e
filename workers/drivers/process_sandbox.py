"""One runner of the process driver, with the launcher that is its parent."""

from __future__ import annotations

import logging
import os
import select
import subprocess
from collections.abc import Callable
from contextlib import suppress

import psutil

from workers.frames import FrameStream
from workers.link import Death, Limits, LinkedSandbox, Shelf

logger = logging.getLogger(__name__)

VERDICT_SEC = 1.0
END_SEC = 10.0


class ProcessSandbox(LinkedSandbox):
    """See `workers.sandbox.Sandbox`. The launcher does the killing and tells how the runner ended."""

    def __init__(
        self,
        stream: FrameStream,
        *,
        id: str,
        runtime: str,
        memory_mb: int,
        network: str,
        limits: Limits,
        shelf: Shelf | None = None,
        launcher: subprocess.Popen[bytes],
        forget: Callable[[str], None],
    ) -> None:
        """`forget` removes the sandbox's files and its place in the driver, by its id."""
        super().__init__(
            stream, id=id, runtime=runtime, memory_mb=memory_mb, network=network, limits=limits, shelf=shelf
        )
        self._launcher = launcher
        self._forget = forget
        self._out_of_memory = False

    @property
    def launcher_pid(self) -> int:
        """The root of this sandbox's tree of processes, itself not the user's."""
        return self._launcher.pid

    def out_of_memory(self) -> None:
        """End it for holding too much memory."""
        self._out_of_memory = True
        self._kill()

    @staticmethod
    def end_launcher(launcher: subprocess.Popen[bytes]) -> None:
        """Kill a launcher's whole tree and wait until it is gone."""
        assert launcher.stdin is not None and launcher.stdout is not None
        launcher.stdin.close()  # the end of its input is the order to kill
        try:
            launcher.wait(END_SEC)
        except subprocess.TimeoutExpired:
            logger.warning("launcher %s does not end; killing its processes from here", launcher.pid)
            _kill_tree(launcher.pid)
            launcher.wait()
        launcher.stdout.close()

    def _kill(self) -> None:
        stdin = self._launcher.stdin
        with suppress(OSError, ValueError):  # it has ended already, or its pipe is closed
            if stdin is not None:
                os.write(stdin.fileno(), b"k")

    def _post_mortem(self) -> Death:
        told = self._verdict()
        if self._out_of_memory:
            return Death(out_of_memory=True)
        what, _, number = told.partition(" ")
        if what == "exit":
            return Death(exit_code=int(number))
        if what == "signal":
            return Death(signal=int(number))
        return Death()

    def _fit(self, memory_mb: int) -> None:
        """Nothing to do: the driver's watch reads `memory_mb`."""

    def _cleanup(self) -> None:
        self.end_launcher(self._launcher)
        self._forget(self.id)

    def _verdict(self) -> str:
        """The launcher's last line once the runner has ended; empty when it does not end in time."""
        assert self._launcher.stdout is not None
        text = b""
        with suppress(OSError, ValueError):
            fd = self._launcher.stdout.fileno()
            while select.select([fd], [], [], VERDICT_SEC)[0]:
                data = os.read(fd, 256)
                text += data
                last = text.decode(errors="replace").rstrip("\n").rpartition("\n")[2]
                if not data or last.startswith(("exit ", "signal ")):
                    return last
        return ""


def _kill_tree(pid: int) -> None:
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in [*root.children(recursive=True), root]:
            with suppress(psutil.Error):
                process.kill()
