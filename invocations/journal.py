"""The journal: finished synchronous runs on this node's disk, from before their answers are sent until they are in the
database.

One writer per worker process, appending; one reader, the scribe's thread, behind it. What was written survives the
process (kill -9), Redis and the database; a worker that finds the journal of a dead one reads it to its end. Reading
twice does no harm, for the database takes a run once.

It is text, one entry a line (`rows.py` makes them and reads them), after a heading that says what is in a line: who
reads it may be of a later release. A last line without its end was never answered.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""A file that has grown so large is followed by another, and removed when it has been read."""
READ_BYTES: Final = 1024 * 1024
"""Of one batch; one line at least."""

_MODE = 0o600

Position = tuple[int, int]
"""Number of a segment, bytes in it."""


class Journal:
    """The writing end. Thread-safe."""

    def __init__(self, folder: Path, name: str, heading: bytes) -> None:
        """`heading` is a line. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._name = name
        self._heading = heading
        self._lock = threading.Lock()
        self._pending: list[bytes] = []
        self._number = 0
        self._size = 0
        self.news = threading.Event()
        """Set when something was written."""
        # Held while this process lives: who gets it knows that the journal is nobody's.
        claim = _claim(_lock(folder, name))
        if claim is None:
            raise OSError(f"the journal {name} has a writer")
        self._claim = claim
        try:
            self._fd, self._size = self._begin(0)
        except OSError:
            os.close(claim)
            raise

    @property
    def end(self) -> Position:
        """Behind the last line that was written."""
        with self._lock:
            return self._number, self._size

    def add(self, lines: bytes) -> None:
        """Collect whole lines for the next `flush`."""
        self._pending.append(lines)

    def flush(self) -> None:
        """Write what was collected. Raises OSError, and keeps then what is not written."""
        with self._lock:
            if self._pending:
                data = b"".join(self._pending)
                try:
                    self._write(data)
                except _Full as full:
                    self._pending[:] = [data[full.written :]]
                    raise
                self._pending.clear()
        if not self.news.is_set():
            self.news.set()

    def append(self, lines: bytes) -> None:
        """Whole lines, written. Raises OSError."""
        with self._lock:
            self._write(lines)
        self.news.set()

    def reader(self) -> Reader:
        """Of this journal, from its beginning."""
        return Reader(self._folder, self._name)

    def close(self, done: Position) -> None:
        """Give it up. What is behind `done` is there for others; if nothing is, no file is left."""
        with self._lock:
            os.close(self._fd)
            # Its number may be another file's in a moment: whoever comes late gets an error, and writes nowhere.
            self._fd = -1
        if done >= self.end:
            _remove(self._folder, self._name)
        os.close(self._claim)

    def _write(self, data: bytes) -> None:
        """All of it; else _Full, and as many of its lines as there was room for."""
        if self._size >= SEGMENT_BYTES:
            self._roll()
        view = memoryview(data)
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, view[written:])
        except OSError as error:
            # A part of a line would spoil the one after it; a whole one may have been read by now.
            whole = data.rfind(b"\n", 0, written) + 1
            if whole < written:
                os.ftruncate(self._fd, self._size + whole)
            self._size += whole
            raise _Full(whole, error) from error
        self._size += written

    def _roll(self) -> None:
        """Go on in the next file; in this one where that can't be made."""
        try:
            fd, size = self._begin(self._number + 1)
        except OSError:
            return
        os.close(self._fd)
        self._fd, self._size, self._number = fd, size, self._number + 1

    def _begin(self, number: int) -> tuple[int, int]:
        """A file with its heading. It gets its name last: to the reader it says that the one before it is complete."""
        unborn = _unborn(self._folder, self._name)
        fd = os.open(unborn, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, _MODE)
        try:
            size = os.write(fd, self._heading)
            if size < len(self._heading):
                raise OSError(errno.ENOSPC, "no room for a heading")
            unborn.rename(_segment(self._folder, self._name, number))
        except OSError:
            os.close(fd)
            unborn.unlink(missing_ok=True)
            raise
        return fd, size


class _Full(OSError):
    """The disk takes no more."""

    def __init__(self, written: int, error: OSError) -> None:
        super().__init__(error.errno, error.strerror)
        self.written = written
        """Bytes, in whole lines."""


class Reader:
    """The reading end: one thread at a time."""

    def __init__(self, folder: Path, name: str, first: int = 0) -> None:
        self._folder = folder
        self._name = name
        self._number = first
        self._at = 0
        self._next: Position = (first, 0)
        """Behind the batch that was read and is not done yet."""

    @property
    def done(self) -> Position:
        """All before it is dealt with."""
        return self._number, self._at

    def batch(self) -> tuple[bytes, bytes]:
        """The heading, and the next lines, whole; the same ones until `advance`. No lines: nothing is left."""
        self._skip_finished()
        try:
            with _segment(self._folder, self._name, self._number).open("rb") as file:
                heading = file.readline()
                self._at = max(self._at, len(heading))
                file.seek(self._at)
                data = file.read(READ_BYTES)
                if (cut := data.rfind(b"\n") + 1) == 0:
                    data += file.readline()
                    cut = data.rfind(b"\n") + 1
        except FileNotFoundError:
            return b"", b""
        self._next = (self._number, self._at + cut)
        return heading, data[:cut]

    def advance(self) -> None:
        """The batch read last is dealt with."""
        self._number, self._at = self._next
        self._skip_finished()

    def _skip_finished(self) -> None:
        """A segment that is followed by another is complete: read to its end it can go."""
        while True:
            path = _segment(self._folder, self._name, self._number)
            following = _segment(self._folder, self._name, self._number + 1)
            # In this order: the size is the last one once there is a following segment.
            if not following.exists() or (path.exists() and path.stat().st_size > self._at):
                return
            path.unlink(missing_ok=True)
            self._number, self._at = self._number + 1, 0


def abandoned(folder: Path) -> Iterator[Reader]:
    """Journals whose writers are dead. Each is the caller's alone while it deals with it, and removed when it comes
    back for the next; where dealing with it fails with an exception it stays."""
    for lock in sorted(folder.glob("*.lock")):
        claim = _claim(lock)
        if claim is None:
            continue
        try:
            name = lock.name.removesuffix(".lock")
            yield Reader(folder, name, min(_numbers(folder, name), default=0))
            _remove(folder, name)
        finally:
            os.close(claim)


def _claim(lock: Path) -> int | None:
    """The lock of a journal, held until its descriptor is closed; None while another process has it."""
    fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its holder before may have removed it meanwhile: then this lock is no one's.
        if os.fstat(fd).st_nlink:
            return fd
    except BlockingIOError:
        pass
    os.close(fd)
    return None


def _remove(folder: Path, name: str) -> None:
    for number in _numbers(folder, name):
        _segment(folder, name, number).unlink(missing_ok=True)
    _unborn(folder, name).unlink(missing_ok=True)
    # The lock last: whoever finds it may look for segments.
    _lock(folder, name).unlink(missing_ok=True)


def _numbers(folder: Path, name: str) -> list[int]:
    return sorted(int(path.suffixes[-2][1:]) for path in folder.glob(f"{name}.*.journal"))


def _segment(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name}.{number:08d}.journal"


def _unborn(folder: Path, name: str) -> Path:
    return folder / f"{name}.new"


def _lock(folder: Path, name: str) -> Path:
    return folder / f"{name}.lock"
