"""What nobody needs any more: files in storage that no row names, and artifacts that no version has had for long.

Who stores a file does so before the row that names it, in the transaction of that row, under `artifacts.hold_files`:
until it ends nothing is dropped. What is left of a transaction that came to nothing goes with the next look.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Manager
from django.utils import timezone

from functions import artifacts
from functions.models import Artifact, LayerVersion, Package

log = logging.getLogger("nimbus.leftovers")

KEPT_FOR = timedelta(days=30)
"""An artifact without versions: who deploys the same again before need not build."""
_NAMED_BY: dict[str, Manager[Any]] = {
    artifacts.PACKAGES: Package.objects,
    artifacts.ARTIFACTS: Artifact.objects,
    artifacts.LAYERS: LayerVersion.objects,
}


@dataclass(frozen=True, slots=True)
class Dropped:
    """How much went."""

    artifacts: int
    files: int


def drop_all() -> None:
    """For the task: all of it, with a line in the log when there was something."""
    dropped = drop(timezone.now())
    if dropped.artifacts or dropped.files:
        log.info("leftovers dropped", extra={"artifacts": dropped.artifacts, "files": dropped.files})


def drop(now: datetime) -> Dropped:
    """Two at once do no harm."""
    rows = _drop_artifacts(now)
    files = sum(_drop_file(folder, name) for folder in _NAMED_BY for name in _strangers(folder))
    return Dropped(rows, files)


def _drop_artifacts(now: datetime) -> int:
    with transaction.atomic():
        artifacts.hold_files(alone=True)
        unused = Artifact.objects.filter(versions=None, dependent_versions=None, created_at__lt=now - KEPT_FOR)
        count, _ = unused.delete()
    return count


def _strangers(folder: str) -> Iterator[str]:
    """Files that no row named a moment ago."""
    for part in _folders(folder):
        names = [f"{folder}/{part}/{file}" for file in default_storage.listdir(f"{folder}/{part}")[1]]
        known = set(_NAMED_BY[folder].filter(stored_as__in=names).values_list("stored_as", flat=True))
        yield from (name for name in names if name not in known)


def _folders(folder: str) -> list[str]:
    try:
        return default_storage.listdir(folder)[0]
    except FileNotFoundError:
        return []  # nothing of this kind has been stored yet


def _drop_file(folder: str, name: str) -> bool:
    """False when somebody has come to need it."""
    with transaction.atomic():
        artifacts.hold_files(alone=True)
        if _NAMED_BY[folder].filter(stored_as=name).exists():
            return False
        default_storage.delete(name)
    return True
