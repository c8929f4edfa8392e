"""Packages and artifacts that are too large for a row: in Django's storage, by their content.

An artifact is a gzipped tar of a folder: what the builder made, or an archive as it was uploaded. Any worker fetches it
by name; files under `var/` by default, an S3-compatible store by Django's STORAGES setting.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection, transaction

from functions import archives
from functions.models import Artifact
from functions.spec import ArtifactKind

PACKAGES, ARTIFACTS, LAYERS = "packages", "artifacts", "layers"
"""Folders in storage."""
_LOCK = 0x6E72


def hold_files(*, alone: bool = False) -> None:
    """Until the transaction ends, no file goes that it stores or means to use. `alone`: for who drops files.

    SQLite needs no lock of ours: its transactions take the one write lock of the database when they begin.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT pg_advisory_xact_lock{'' if alone else '_shared'}(%s)", [_LOCK])


def keep(folder: str, data: bytes) -> tuple[str, str]:
    """Store bytes under their sha256, in the transaction that makes the row with their name. ``(sha256, name in
    storage)``; the same bytes are stored once."""
    hold_files()
    sha256 = hashlib.sha256(data).hexdigest()
    name = f"{folder}/{sha256[:2]}/{sha256}"
    # One that is too short was being written when its process was killed.
    if not default_storage.exists(name) or default_storage.size(name) != len(data):
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


@transaction.atomic
def record(key: str, kind: ArtifactKind, data: bytes) -> Artifact:
    """The artifact of this key, stored if it was not yet."""
    sha256, name = keep(ARTIFACTS, data)
    artifact, _ = Artifact.objects.get_or_create(
        key=key, defaults={"sha256": sha256, "kind": kind, "size_bytes": len(data), "stored_as": name}
    )
    return artifact


@transaction.atomic
def replace(key: str, kind: ArtifactKind, data: bytes) -> Artifact:
    """The artifact of this key from now on."""
    sha256, name = keep(ARTIFACTS, data)
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
    with archives.opened(data) as files:
        return dict(files)
