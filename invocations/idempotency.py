"""`Idempotency-Key`: within a day, the same key and body of a caller to a function is the same invocation.

Each caller has keys of its own: what one has chosen neither gives another its answers nor stands in the other's way.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from accounts.principal import principal_var
from invocations.errors import IdempotencyMismatch
from invocations.models import IdempotencyKey
from nimbus_project.core.errors import InvalidRequest

KEPT = timedelta(hours=24)
MAX_LENGTH = 255
NOBODY = 0
"""The caller without a user: embedded mode, a trigger. Not null, for a unique constraint passes nulls by."""


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
    """Take the caller's key for this invocation or learn whose it is. In the transaction that stores the invocation, so
    that both are there or neither. Raises IdempotencyMismatch when the key came with another body."""
    digest = hashlib.sha256(body).hexdigest()
    mine = _of_caller(function_id, key)
    IdempotencyKey.objects.filter(**mine, created_at__lt=now - KEPT).delete()
    row = IdempotencyKey(**mine, body_sha256=digest, invocation_id=invocation_id, created_at=now)
    # On a conflict the database waits for the other transaction's end, then ignores: no read can come too early.
    IdempotencyKey.objects.bulk_create([row], ignore_conflicts=True)
    kept = IdempotencyKey.objects.get(**mine)
    if kept.body_sha256 != digest:
        raise IdempotencyMismatch("This Idempotency-Key was used with another body. Use a new key for a new request.")
    return Claim(kept.invocation_id, first=kept.invocation_id == invocation_id)


def release(function_id: str, key: str, invocation_id: UUID) -> None:
    """Free the key of a call that never ran, so that the client's retry can."""
    IdempotencyKey.objects.filter(**_of_caller(function_id, key), invocation_id=invocation_id).delete()


def _of_caller(function_id: str, key: str) -> dict[str, Any]:
    """The row of whoever this request is by."""
    return {"function_id": function_id, "caller_id": principal_var.get().user_id or NOBODY, "key": key}


def forget_old(now: datetime) -> int:
    """Delete keys past their day. The count."""
    deleted, _ = IdempotencyKey.objects.filter(created_at__lt=now - KEPT).delete()
    return deleted
