"""Source by its sha256: stored once, shared by every version that has the same bytes."""

from __future__ import annotations

import hashlib

from functions.models import Package

MAX_SOURCE_BYTES = 512 * 1024


def store(data: bytes) -> Package:
    """The package of these bytes, made if it was not there. Two writers of the same bytes agree by the key."""
    sha256 = hashlib.sha256(data).hexdigest()
    Package.objects.bulk_create([Package(sha256=sha256, data=data, size_bytes=len(data))], ignore_conflicts=True)
    return Package(sha256=sha256, data=data, size_bytes=len(data))


def remove_unused(sha256s: list[str]) -> int:
    """Delete those of the packages that no version uses any more. The count."""
    deleted, _ = Package.objects.filter(sha256__in=sha256s, versions__isnull=True).delete()
    return deleted
