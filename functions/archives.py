"""Uploaded archives: what may be in one. Pure; nothing is unpacked before it has passed.

A zip's directory can lie about sizes, so files are read with a bound as well (CVE-2019-9674 and its kin).
"""

from __future__ import annotations

import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath

from nimbus_project.core.errors import InvalidRequest

MAX_FILES = 10_000
MAX_UNPACKED_BYTES = 250 * 1024 * 1024
MAX_NAME = 512
MAX_PART_BYTES = 255
"""Of one folder's or file's own name; what Linux's file systems take."""

# What zipfile and the decompressors below it raise for bytes that are none, encrypted, or damaged on purpose.
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OverflowError,
    OSError,
)


class Files(Mapping[str, bytes]):
    """The files of a zip that `check` has passed, by their names as it gives them; each is unpacked when it is read."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._infos = {str(PurePosixPath(info.filename)): info for info in archive.infolist() if not info.is_dir()}

    def __getitem__(self, name: str) -> bytes:
        return self._archive.read(self._infos[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._infos)

    def __len__(self) -> int:
        return len(self._infos)


@contextmanager
def opened(data: bytes) -> Iterator[Files]:
    """The files of a zip that `check` has passed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        yield Files(archive)


def check(data: bytes, *, max_bytes: int, field: str = "archive") -> list[str]:
    """The names of the files of a zip, `/`-separated, none outside its folder. Raises InvalidRequest with the
    reason, about the request's `field`."""
    try:
        return _checked(data, max_bytes)
    except Refused as error:
        raise InvalidRequest(f"{field} {error}.", details={field: [f"The archive {error}."]}) from error


class Refused(Exception):
    """What is wrong with a zip, as the rest of a sentence."""


def _checked(data: bytes, max_bytes: int) -> list[str]:
    if len(data) > max_bytes:
        raise Refused(f"is {len(data)} bytes long; at most {max_bytes} are allowed")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if len(infos) > MAX_FILES:
                raise Refused(f"has {len(infos)} entries; at most {MAX_FILES} are allowed")
            names = [_checked_name(info) for info in infos]
            _check_sizes(archive, infos)
    except _UNREADABLE as error:
        raise Refused(f"is not a zip that can be read: {error}") from error
    files = [name for name, info in zip(names, infos, strict=True) if not info.is_dir()]
    if not files:
        raise Refused("has no files")
    if "." in files:
        raise Refused("has an unusable file name: '.'")
    if len(set(files)) != len(files):
        raise Refused("names the same file twice")
    if both := {str(folder) for name in files for folder in PurePosixPath(name).parents} & set(files):
        raise Refused(f"has {min(both)[:80]!r} both as a file and as a folder")
    return files


def _checked_name(info: zipfile.ZipInfo) -> str:
    name = info.filename
    path = PurePosixPath(name)
    if not name or len(name) > MAX_NAME or "\0" in name or "\\" in name or not name.isprintable():
        raise Refused(f"has an unusable file name: {name[:80]!r}")
    if any(len(part.encode()) > MAX_PART_BYTES for part in path.parts):
        raise Refused(f"has a file name that no file system takes: {name[:80]!r}")
    if path.is_absolute() or ".." in path.parts:
        raise Refused(f"reaches outside its folder: {name[:80]!r}")
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Refused(f"has a link or special file: {name[:80]!r}")
    if info.flag_bits & 0x1:
        raise Refused("is encrypted")
    return str(path)


def _check_sizes(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> None:
    if sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
        raise Refused(f"unpacks to more than {MAX_UNPACKED_BYTES} bytes")
    for info in infos:
        if info.is_dir():
            continue
        with archive.open(info) as file:
            read = 0
            while chunk := file.read(1 << 20):
                read += len(chunk)
                if read > info.file_size:
                    raise Refused("lies about the size of its files")
