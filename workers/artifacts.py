"""Artifacts on this node: fetched from storage once, unpacked, handed to sandboxes as links.

<var>/cache/artifacts/<sha256>/     one unpacked folder per artifact or layer, by content
<sandbox folder>/task|python|node_modules   hard links to its files: a sandbox sees its own function's only,
                                    and dropping a cached folder takes nothing from one that uses it
"""

from __future__ import annotations

import io
import logging
import os
import shutil
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from functions.runtimes import RUNTIMES
from functions.spec import FunctionSpec, StoredFolder
from workers.sandbox import SandboxError

log = logging.getLogger("nimbus.artifacts")

Fetch = Callable[[str], bytes]
"""Name in storage -> bytes; raises OSError."""

LEFT_AFTER_SEC = 3600.0
"""A folder being made or dropped for longer than that has no worker any more."""

_LAYER_FOLDERS = {"python": "python", "node": "nodejs/node_modules"}
_STAGED_AS = {"python": "python", "node": "node_modules"}


class ArtifactCache:
    """The unpacked artifacts of one worker process. Thread-safe; processes of one node may share the folder."""

    def __init__(self, folder: Path, fetch: Fetch, *, max_bytes: int) -> None:
        self._folder = folder
        self._fetch = fetch
        self._max_bytes = max_bytes
        self._guard = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}

    def folder_of(self, stored: StoredFolder) -> Path:
        """The unpacked folder. Raises SandboxError when it can't be fetched."""
        folder = self._folder / stored.sha256
        if folder.is_dir():
            os.utime(folder)
            return folder
        with self._guard:
            busy = self._busy.setdefault(stored.sha256, threading.Lock())
        with busy:
            if not folder.is_dir():
                self._unpack(stored, folder)
        self._make_room(besides=folder)
        return folder

    def _unpack(self, stored: StoredFolder, folder: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        unborn = Path(tempfile.mkdtemp(prefix=".unpack-", dir=self._folder))
        try:
            data = self._fetch(stored.stored_as)
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as tar:
                # "data" refuses what reaches outside, devices and set-uid bits (PEP 706).
                tar.extractall(unborn, filter="data")
            unborn.chmod(0o755)
            unborn.rename(folder)
        except (OSError, tarfile.TarError) as error:
            shutil.rmtree(unborn, ignore_errors=True)
            # Another process of this node was quicker.
            if not folder.is_dir():
                raise SandboxError(f"The function's artifact can't be fetched: {error}") from error

    def _make_room(self, *, besides: Path) -> None:
        """Drop the longest unused until the rest fits."""
        with self._guard:
            folders = sorted(
                (f for f in self._folder.iterdir() if f.is_dir() and not f.name.startswith(".")),
                key=lambda f: f.stat().st_mtime,
                reverse=True,
            )
            total = 0
            for folder in folders:
                total += _size(folder)
                if total > self._max_bytes and folder != besides:
                    _drop(folder)
        for left in self._folder.glob(".*-*"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > LEFT_AFTER_SEC:
                    shutil.rmtree(left, ignore_errors=True)

    def stage(self, spec: FunctionSpec, into: Path) -> None:
        """Link a version's files below `into`: ``task/``, and its layers merged into ``python/`` or
        ``node_modules/``. Raises SandboxError."""
        runtime = RUNTIMES[spec.runtime]
        try:
            into.mkdir(mode=0o755, exist_ok=True)
            if spec.folder is not None:
                _link_tree(self.folder_of(spec.folder), into / "task")
            else:
                (into / "task").mkdir(mode=0o755, exist_ok=True)
                name = spec.handler.split(".")[0] + runtime.source_suffix
                (into / "task" / name).write_bytes(spec.artifact)
            for layer in spec.layers:
                source = self.folder_of(layer) / _LAYER_FOLDERS.get(runtime.folder, "python")
                if source.is_dir():
                    _link_tree(source, into / _STAGED_AS.get(runtime.folder, "python"))
        except OSError as error:
            raise SandboxError(f"The function's files can't be put into its sandbox: {error}") from error


def _drop(folder: Path) -> None:
    """Under another name first: a worker killed in the middle must not leave half of it to be taken for the whole."""
    grave = Path(tempfile.mkdtemp(prefix=".drop-", dir=folder.parent))
    with suppress(OSError):
        folder.rename(grave / folder.name)
    shutil.rmtree(grave, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(entry.stat(follow_symlinks=False).st_size for entry in folder.rglob("*"))


def _link_tree(source: Path, target: Path) -> None:
    """`target` with the same files as `source`, linked where the file system allows it; what is there is replaced."""
    # A link that an earlier layer has put there may lead anywhere: it is never followed.
    if target.is_symlink() or target.is_file():
        target.unlink()
    target.mkdir(mode=0o755, exist_ok=True)
    for entry in os.scandir(source):
        place = target / entry.name
        if entry.is_dir(follow_symlinks=False):
            _link_tree(Path(entry.path), place)
        else:
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            place.unlink(missing_ok=True)
            _link(Path(entry.path), place)


def _link(source: Path, place: Path) -> None:
    if source.is_symlink():
        place.symlink_to(os.readlink(source))
        return
    try:
        os.link(source, place)
    except OSError:
        shutil.copy2(source, place)
