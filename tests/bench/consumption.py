"""What processes have used, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_TICKS = os.sysconf("SC_CLK_TCK")
_KIB = 1024


def family(pid: int) -> list[int]:
    """A process and its children's children."""
    own = psutil.Process(pid)
    return [pid, *(child.pid for child in own.children(recursive=True))]


def cpu_sec(pid: int) -> float:
    """User and system time of a process and its children, those that have ended and been waited for included."""
    return sum(_cpu_sec(one) for one in family(pid))


def _cpu_sec(pid: int) -> float:
    # proc(5): utime, stime, cutime, cstime are 14 to 17; the name in 2 may hold spaces.
    try:
        told = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except FileNotFoundError:
        return 0.0
    return sum(int(told[at]) for at in range(11, 15)) / _TICKS


def own_mb(pid: int) -> float:
    """Resident memory of one process without what it shares: PostgreSQL's pool of buffers, reserved at its start, would
    look like growth in each process that touches it."""
    told = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return sum(int(told[name].split()[0]) for name in ("RssAnon", "RssFile")) * _KIB / 2**20


def rss_mb(pid: int) -> float:
    """Resident memory of a process and its children, what they share counted in each."""
    return sum(psutil.Process(one).memory_info().rss for one in family(pid)) / 2**20


class Stolen:
    """Time that the hypervisor gave to others while this machine had work, from now on."""

    def __init__(self) -> None:
        self._began = self._ticks()

    def percent(self) -> float:
        """Of all the time of all processors."""
        then, now = self._began, self._ticks()
        return 100 * (now[1] - then[1]) / max(1, now[0] - then[0])

    def _ticks(self) -> tuple[int, int]:
        """All, stolen."""
        told = [int(word) for word in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
        return sum(told), told[7]
