"""Which sandbox has said something: one epoll of our own inside the event loop.

The loop's own `add_reader` and `remove_reader` make and close a handle for each call, a sixth of what a call costs
here. Edge-triggered (epoll(7)), a descriptor is registered once for as long as it is open; what arrives while a thread
of the queue lane has the sandbox wakes the loop for nothing, and is passed over. Who is told reads until nothing is
left.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.direct_run import Run
    from workers.sandbox import Sandbox


class Watch:
    """The loop's alone."""

    def __init__(self, tell: Callable[[Run], None]) -> None:
        self._tell = tell
        self._epoll = select.epoll()
        self._sandboxes: dict[int, str] = {}
        """Who is registered by a descriptor. Closed, the kernel takes it out by itself, and its number is given to the
        next one: so the number alone says nothing."""
        self._runs: dict[int, Run] = {}

    def fileno(self) -> int:
        return self._epoll.fileno()

    def add(self, fd: int, sandbox: Sandbox, run: Run) -> None:
        """Tell of this run from now on. To be called before it can have an answer."""
        run.fd = fd
        if fd < 0:
            return
        if self._sandboxes.get(fd) != sandbox.id:
            self._register(fd)
            self._sandboxes[fd] = sandbox.id
        self._runs[fd] = run

    def forget(self, run: Run) -> None:
        if self._runs.get(run.fd) is run:
            del self._runs[run.fd]

    def look(self) -> None:
        """Something has arrived."""
        for fd, _ in self._epoll.poll(0):
            if (run := self._runs.get(fd)) is not None:
                self._tell(run)

    def close(self) -> None:
        self._epoll.close()

    def _register(self, fd: int) -> None:
        flags = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
        try:
            self._epoll.register(fd, flags)
        except FileExistsError:
            self._epoll.modify(fd, flags)
