"""This process's resident memory."""

from __future__ import annotations

import os
import resource
import sys

_UNIT = 1024 * 1024 if sys.platform == "darwin" else 1024
_MARK = b"5"
"""The high-water mark falls to what is resident now: proc_pid_clear_refs(5)."""


class Peak:
    """Peak resident memory of one call (Linux; elsewhere that of the process's whole life)."""

    def __init__(self) -> None:
        self._fd = -1
        self._least = 0
        try:
            self._fd = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
            self.reset()
        except OSError:
            return  # not Linux, or not allowed
        # getrusage(2) never says less than what the process was before it became Python; /proc does, but takes ten
        # times as long.
        if (known := _used()) > _status_kib(b"VmHWM:") + 1024:
            self._least = known

    def reset(self) -> None:
        """Start a new measurement."""
        if self._fd >= 0:
            os.write(self._fd, _MARK)

    def mb(self) -> float:
        """Since `reset`, MiB."""
        used = _used()
        return round((used if used > self._least else _status_kib(b"VmHWM:")) / _UNIT, 2)


def resident_mb() -> float:
    """Now, MiB."""
    try:
        return round(_status_kib(b"VmRSS:") / 1024, 2)
    except (OSError, ValueError):
        return round(_used() / _UNIT, 2)


def _used() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _status_kib(name: bytes) -> int:
    with open("/proc/self/status", "rb", buffering=0) as file:
        text = file.read(4096)
    at = text.index(name) + len(name)
    return int(text[at : text.index(b"kB", at)])
