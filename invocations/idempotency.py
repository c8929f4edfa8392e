"""`Idempotency-Key`: within a day, the same key and body of a function is the same invocation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from invocations.errors import IdempotencyMismatch
from invocations.models import IdempotencyKey
from nimbus_project.core.errors import InvalidRequest

KEPT = timedelta(hours=24)
MAX_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Claim:
    """Whose invocation the key stands for, and whether it is new."""

    invocation_id: UUID
    first: bool


def check(key: str) -> str:
    """A usable key, or InvalidRequest."""
    if not key or len(key) > MAX_LENGTH or not key.isprintable():
        raise InvalidRequest(f"Idempotency-Key must be 1 to {MAX_LENGTH} printable characters.")
    return key


def claim(function_id: str, key: str, body: bytes, invocation_id: UUID, now: datetime) -> Claim:
    """Take the key for this invocation or learn whose it is. In the transaction that stores the invocation, so that
    both are there or neither. Raises IdempotencyMismatch when the key came with another body."""
    digest = hashlib.sha256(body).hexdigest()
    IdempotencyKey.objects.filter(function_id=function_id, key=key, created_at__lt=now - KEPT).delete()
    row = IdempotencyKey(
        function_id=function_id, key=key, body_sha256=digest, invocation_id=invocation_id, created_at=now
    )
    # On a conflict the database waits for the other transaction's end, then ignores: no read can come too early.
    IdempotencyKey.objects.bulk_create([row], ignore_conflicts=True)
    kept = IdempotencyKey.objects.get(function_id=function_id, key=key)
    if kept.body_sha256 != digest:
        raise IdempotencyMismatch("This Idempotency-Key was used with another body. Use a new key for a new request.")
    return Claim(kept.invocation_id, first=kept.invocation_id == invocation_id)


def release(function_id: str, key: str, invocation_id: UUID) -> None:
    """Free the key of a call that never ran, so that the client's retry can."""
    IdempotencyKey.objects.filter(function_id=function_id, key=key, invocation_id=invocation_id).delete()


def forget_old(now: datetime) -> int:
    """Delete keys past their day. The count."""
    deleted, _ = IdempotencyKey.objects.filter(created_at__lt=now - KEPT).delete()
    return deleted
