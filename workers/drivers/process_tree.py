"""The processes below one process, and the memory they hold.

The launcher uses it too: on Linux nothing but the standard library.
"""

from __future__ import annotations

import os
import sys

_PAGE = os.sysconf("SC_PAGE_SIZE")
_LINUX = sys.platform == "linux"


def descendants(pid: int) -> list[int]:
    """Pids of all living children of a process, their children and so on; parents before children."""
    if not _LINUX:
        return _descendants_elsewhere(pid)
    found = [pid]
    for parent in found:
        found += _children(parent)
    return found[1:]


def memory_bytes(pids: list[int], limit: int) -> int:
    """Memory these processes hold.

    Resident pages first, which is quick and counts shared pages once per process; only a sum above `limit` is
    worth the exact count.
    """
    total = sum(map(_resident, pids))
    return total if total <= limit else sum(map(_proportional, pids))


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                found += map(int, file.read().split())
    except OSError:
        pass  # it ended meanwhile
    return found


def _resident(pid: int) -> int:
    if not _LINUX:
        return _resident_elsewhere(pid)
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    """Resident memory with each shared page divided among its users."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # no such file on this system, or the process ended
    return _resident(pid)


def _descendants_elsewhere(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def _resident_elsewhere(pid: int) -> int:
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
