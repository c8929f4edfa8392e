"""This process's resident memory."""

from __future__ import annotations

import resource
import sys


def reset_peak() -> None:
    """Start a new measurement of the peak (Linux): the high-water mark falls to what is resident now."""
    try:
        with open("/proc/self/clear_refs", "wb", buffering=0) as file:
            file.write(b"5")
    except OSError:
        pass  # not Linux, or not allowed: then the peak is the process's whole life's


def peak_mb() -> float:
    """Peak since `reset_peak`, MiB."""
    return _status_mb(b"VmHWM:")


def resident_mb() -> float:
    """Now, MiB."""
    return _status_mb(b"VmRSS:")


def _status_mb(name: bytes) -> float:
    try:
        with open("/proc/self/status", "rb", buffering=0) as file:
            text = file.read(4096)
        at = text.index(name) + len(name)
        return round(int(text[at : text.index(b"kB", at)]) / 1024, 2)
    except (OSError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 2)
