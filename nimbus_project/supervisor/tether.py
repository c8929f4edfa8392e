"""Children that die with their parent: on Linux the kernel kills them when the process that started them ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1

# Loaded here, not between fork and exec, where the loader's lock may be held.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None


def tether(death_signal: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """For `subprocess.Popen(preexec_fn=…)`. Elsewhere than on Linux it does nothing.

    The signal comes when the *thread* that forked ends: call from the main thread.
    """
    parent = os.getpid()

    def before_exec() -> None:
        if _LIBC is None:
            return
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # the parent ended before the kernel was told

    return before_exec
