"""Packages and artifacts that are too large for a row: in Django's storage, by their content.

An artifact is a gzipped tar of a folder: what the builder made, or an archive as it was uploaded. Any worker fetches it
by name; files under `var/` by default, an S3-compatible store by Django's STORAGES setting.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from functions.models import Artifact
from functions.spec import ArtifactKind


def keep(folder: str, data: bytes) -> tuple[str, str]:
    """Store bytes under their sha256. ``(sha256, name in storage)``; the same bytes are stored once."""
    sha256 = hashlib.sha256(data).hexdigest()
    name = f"{folder}/{sha256[:2]}/{sha256}"
    if not default_storage.exists(name):
        # Two writers at once: storage renames the second, whose bytes are the same; its name is used then.
        name = default_storage.save(name, ContentFile(data))
    return sha256, name


def fetch(name: str) -> bytes:
    """Raises OSError when it is not there or can't be read."""
    try:
        with default_storage.open(name) as file:
            data: bytes = file.read()
    except OSError:
        raise
    except Exception as error:
        # Every kind of store has exceptions of its own for a network that fails.
        raise OSError(f"{name} can't be read from storage: {error}") from error
    return data


def record(key: str, kind: ArtifactKind, data: bytes) -> Artifact:
    """The artifact of this key, stored if it was not yet."""
    sha256, name = keep("artifacts", data)
    artifact, _ = Artifact.objects.get_or_create(
        key=key, defaults={"sha256": sha256, "kind": kind, "size_bytes": len(data), "stored_as": name}
    )
    return artifact


def replace(key: str, kind: ArtifactKind, data: bytes) -> Artifact:
    """The artifact of this key from now on."""
    sha256, name = keep("artifacts", data)
    artifact, _ = Artifact.objects.update_or_create(
        key=key, defaults={"sha256": sha256, "kind": kind, "size_bytes": len(data), "stored_as": name}
    )
    return artifact


def tar_of(files: dict[str, bytes], executable: frozenset[str] = frozenset()) -> bytes:
    """A folder as a gzipped tar, the same bytes for the same files."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1, mtime=0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for name in sorted(files):
                entry = tarfile.TarInfo(name)
                entry.size = len(files[name])
                entry.mode = 0o755 if name in executable else 0o644
                tar.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


def files_of_zip(data: bytes) -> dict[str, bytes]:
    """The files of an archive that `functions.archives.check` has passed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
