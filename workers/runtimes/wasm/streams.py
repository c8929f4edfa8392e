"""The module's stdout and stderr: pipes that it writes into without a word of Python.

They are this process's own stdout and stderr, so that no file is opened for a call. A stream that calls back into
Python costs 60 µs a write, a pipe one. Most calls are over before the pipe is full: then
the calling thread reads it, and no other is woken, which costs more than such a call. Longer ones have a thread that
reads while they run.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys
import threading
from collections.abc import Callable
from typing import Protocol

Sink = Callable[[bytes], None]
CHUNK = 64 * 1024
PATIENCE_SEC = 0.002
"""So long a call runs before its output is read while it comes."""
_LOOK_MS = 20


class Streams:
    """Two pipes for all the calls of this process, one call at a time."""

    def __init__(self) -> None:
        self._guard = threading.RLock()
        # Two, for two threads can't ask one at a time.
        self._now, self._poll = select.poll(), select.poll()
        self._sinks: dict[int, Sink] = {}
        """Empty between calls."""
        self._timer = make_timer(PATIENCE_SEC)
        # What this program itself has to say goes where it went.
        sys.stderr = open(os.dup(2), "w", buffering=1)  # noqa: SIM115
        self._stdout, self._stderr = self._open(1), self._open(2)
        threading.Thread(target=self._pump, name="nimbus-output", daemon=True).start()

    def _open(self, descriptor: int) -> int:
        """A pipe that `descriptor` writes into; its end for reading."""
        read, write = os.pipe()
        os.dup2(write, descriptor)
        os.close(write)
        os.set_blocking(read, False)
        self._now.register(read, select.POLLIN)
        self._poll.register(read, select.POLLIN)
        return read

    def begin(self, stdout: Sink, stderr: Sink) -> None:
        """A call starts: what it writes goes there."""
        self._sinks = {self._stdout: stdout, self._stderr: stderr}
        # Anew for each call, though once for many would be a system call less: then the other thread wakes now and
        # then, and Linux takes who wakes several for one that is best left where it is (wake_wide() of kernel/sched/
        # fair.c). Worker and runner then don't share a processor and its caches, which costs far more.
        self._timer.start()

    def end(self) -> None:
        """The call is over: all it wrote has gone there. May be said twice."""
        if not self._sinks:
            return
        with self._guard:
            # Most calls write to one of the two, and less than one read takes.
            for read, _ in self._now.poll(0):
                while self._take(read) == CHUNK:
                    pass
            self._sinks = {}

    def _pump(self) -> None:
        while True:
            self._timer.wait()
            while self._sinks:
                self._poll.poll(_LOOK_MS)
                with self._guard:
                    for read in self._sinks:
                        self._take(read)

    def _take(self, read: int) -> int:
        """How much there was of what one read takes."""
        try:
            data = os.read(read, CHUNK)
        except BlockingIOError:
            return 0
        self._sinks[read](data)
        return len(data)


class Timer(Protocol):
    """Wakes one thread."""

    def start(self) -> None:
        """Run anew; what was left of its time is forgotten."""

    def wait(self) -> None:
        """Until it has run out once more."""


class KernelTimer:
    """Of Linux (timerfd_create(2)); Python has it from 3.13 on. Calls that follow each other closely wake nobody: each
    starts it again."""

    _MONOTONIC = 1

    def __init__(self, seconds: float) -> None:
        # Which keeps Python's lock: these calls are over at once.
        libc = ctypes.PyDLL(None, use_errno=True)
        self._fd = libc.timerfd_create(self._MONOTONIC, os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "no timer")
        self._time = (ctypes.c_long * 4)(0, 0, 0, int(seconds * 1e9))
        self._time_at = ctypes.addressof(self._time)
        self._settime = ctypes.PyDLL(None)["timerfd_settime"]
        self._settime.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

    def start(self) -> None:
        self._settime(self._fd, 0, self._time_at, None)

    def wait(self) -> None:
        os.read(self._fd, 8)


class PlainTimer:
    """Where there is no other: it wakes its thread at every start."""

    def __init__(self) -> None:
        self._started = threading.Semaphore(0)

    def start(self) -> None:
        self._started.release()

    def wait(self) -> None:
        self._started.acquire()


def make_timer(seconds: float) -> Timer:
    try:
        return KernelTimer(seconds)
    except (OSError, AttributeError):
        return PlainTimer()
