"""Sources in, artifact out: what every builder of packages does. The Node builder has it by a link."""

from __future__ import annotations

import gzip
import os
import sys
import tarfile
from pathlib import Path
from typing import BinaryIO


def artifact_stream() -> BinaryIO:
    """The real stdout, the artifact's alone: what this process and its children print from here on is log."""
    sys.stdout.flush()
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return stream


def unpack(folder: Path) -> None:
    """The files of the tar on stdin, whose names the platform has checked."""
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
        for entry in tar:
            place = folder / entry.name
            data = tar.extractfile(entry)
            if data is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(data.read())


def pack(folder: Path, artifact: BinaryIO) -> None:
    """A gzipped tar; the same files give the same bytes."""
    with gzip.GzipFile(fileobj=artifact, mode="wb", compresslevel=6, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT) as tar:
            for path in sorted(folder.rglob("*")):
                _add(tar, folder, path)
    artifact.close()


def _add(tar: tarfile.TarFile, folder: Path, path: Path) -> None:
    entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
    if path.is_symlink():
        inside = path.resolve().is_relative_to(folder.resolve()) and not os.path.isabs(os.readlink(path))
        if inside:
            entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
            tar.addfile(entry)
    elif path.is_dir():
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)
    elif path.is_file():
        entry.size = path.stat().st_size
        entry.mode = 0o755 if path.stat().st_mode & 0o111 else 0o644
        with path.open("rb") as file:
            tar.addfile(entry, file)
