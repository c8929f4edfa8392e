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
from pathlib import PurePosixPath

from nimbus_project.core.errors import InvalidRequest

MAX_FILES = 10_000
MAX_UNPACKED_BYTES = 250 * 1024 * 1024
MAX_NAME = 512

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


def check(data: bytes, *, max_bytes: int) -> list[str]:
    """The names of the files of a zip, `/`-separated, none outside its folder. Raises InvalidRequest with the
    reason."""
    if len(data) > max_bytes:
        raise _refused(f"is {len(data)} bytes long; at most {max_bytes} are allowed")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if len(infos) > MAX_FILES:
                raise _refused(f"has {len(infos)} entries; at most {MAX_FILES} are allowed")
            names = [_checked_name(info) for info in infos]
            _check_sizes(archive, infos)
    except _UNREADABLE as error:
        raise _refused(f"is not a zip that can be read: {error}") from error
    files = [name for name, info in zip(names, infos, strict=True) if not info.is_dir()]
    if not files:
        raise _refused("has no files")
    if len(set(files)) != len(files):
        raise _refused("names the same file twice")
    return files


def _checked_name(info: zipfile.ZipInfo) -> str:
    name = info.filename
    path = PurePosixPath(name)
    if not name or len(name) > MAX_NAME or "\0" in name or "\\" in name or not name.isprintable():
        raise _refused(f"has an unusable file name: {name[:80]!r}")
    if path.is_absolute() or ".." in path.parts:
        raise _refused(f"reaches outside its folder: {name[:80]!r}")
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(f"has a link or special file: {name[:80]!r}")
    if info.flag_bits & 0x1:
        raise _refused("is encrypted")
    return str(path)


def _check_sizes(archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> None:
    if sum(info.file_size for info in infos) > MAX_UNPACKED_BYTES:
        raise _refused(f"unpacks to more than {MAX_UNPACKED_BYTES} bytes")
    for info in infos:
        if info.is_dir():
            continue
        with archive.open(info) as file:
            read = 0
            while chunk := file.read(1 << 20):
                read += len(chunk)
                if read > info.file_size:
                    raise _refused("lies about the size of its files")


def _refused(reason: str) -> InvalidRequest:
    return InvalidRequest(f"archive {reason}.", details={"archive": [f"The archive {reason}."]})
