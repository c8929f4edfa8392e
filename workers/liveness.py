"""Who is alive on this node: a lock file per worker, which the kernel lets go of when its process dies.

    <run_dir>/<kind>-<pid>-<random>/lock

A worker holds `flock` on its own; whoever can take it has found a dead one. No heartbeat, no pid that comes
round again, no database. Plain Python; POSIX only.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

LOCK_NAME = "lock"


class WorkerLock:
    """This worker's directory below `run_dir`, held from `acquire` until `release` or the process's death.

    `kind` says which driver's leftovers the directory may hold (``docker``, ``process``): a driver sweeps its own.
    """

    def __init__(self, run_dir: Path, kind: str) -> None:
        self.run_dir = run_dir
        self.name = f"{kind}-{os.getpid()}-{secrets.token_hex(3)}"
        self.directory = run_dir / self.name
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        return self._fd is not None

    def acquire(self) -> Self:
        """Make the directory (mode 0700) and hold its lock. Raises OSError."""
        if self._fd is not None:
            return self
        # Locked under another name first: a sweeper never sees a directory whose lock is not held yet.
        unborn = self.run_dir / f".{self.name}"
        unborn.mkdir(parents=True, mode=0o700)
        fd = os.open(unborn / LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        unborn.rename(self.directory)
        self._fd = fd
        return self

    def release(self) -> None:
        """Remove the directory and let go. Idempotent."""
        if self._fd is None:
            return
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._fd)
        self._fd = None

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_alive(directory: Path) -> bool:
    """Whether some process holds the lock in this worker's directory. False when the directory is gone."""
    try:
        fd = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        return True  # another user's: not ours to judge
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def dead_workers(run_dir: Path, kind: str) -> Iterator[Path]:
    """Directories of this kind whose worker is dead. Clean up what they speak of, then `bury` them."""
    for directory in sorted(run_dir.glob(f"{kind}-*")):
        if directory.is_dir() and not is_alive(directory):
            yield directory


def bury(directory: Path) -> None:
    """Remove a dead worker's directory. A living one's is left alone."""
    if not is_alive(directory):
        shutil.rmtree(directory, ignore_errors=True)
