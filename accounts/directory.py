"""The web process's directory of API keys: who a key is, from memory.

An entry is dropped the moment this process changes the key or its owner, within a message's travel when another does
(`nimbus_project.core.redis.KEYS`), and after MAX_AGE_SEC in any case, should a message be lost. Keys that are in use
are read again in the background (`refresh`): no caller waits for the database then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.db import transaction

from accounts import rights
from accounts.models import ApiKey
from accounts.selectors import role_of
from nimbus_project.core import redis

MAX_AGE_SEC = 5.0
MAX_ENTRIES = 10_000
EVERYTHING = "*"
"""What listeners hear when messages may have been missed."""
REFRESH_SEC = 2.0
"""An entry of this age is read again while its key is in use: it has not reached MAX_AGE_SEC then before the next
round."""
IN_USE_SEC = 300.0
REFRESHED_AT_ONCE = 64
"""Of the keys in use, those used latest; the others are read again when they come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """A stored key as the entrance sees it."""

    id: UUID
    prefix: str
    secret_sha256: str
    user_id: int
    user_name: str
    role: str
    """Effective: never more than its owner's. Empty when the owner may do nothing any more."""
    expires_at: float | None
    """Unix seconds."""
    revoked: bool


_entries: dict[str, tuple[float, KnownKey]] = {}
_generation = 0
_used: dict[str, float] = {}
"""Prefix -> Unix seconds of the last use, for a while."""
_written: dict[str, float] = {}
"""Prefix -> that of its uses which is in the database."""
_listeners: list[Callable[[str], None]] = []


def listen(listener: Callable[[str], None]) -> None:
    """Have `listener` called with all news of this process: a prefix, ``user:<id>`` or EVERYTHING. It must neither
    block nor raise."""
    _listeners.append(listener)


def known(prefix: str) -> KnownKey | None:
    """From memory or not at all: never blocks."""
    entry = _entries.get(prefix)
    return entry[1] if entry is not None and time.monotonic() - entry[0] < MAX_AGE_SEC else None


def look_up(prefix: str) -> KnownKey | None:
    """From the database, into memory. None when there is no such key."""
    began = _generation
    row = ApiKey.objects.select_related("owner__member").filter(prefix=prefix).first()
    if row is None:
        return None
    key = _read(row)
    # A revocation while the row was being read would otherwise be overwritten by what was read before it.
    if began == _generation:
        if len(_entries) >= MAX_ENTRIES:
            _entries.clear()
        _entries[prefix] = (time.monotonic(), key)
    return key


def refresh(now: float, unix_now: float) -> None:
    """Read the keys that are in use again, with one query; the times are of `time.monotonic()` and `time.time()`.
    Raises DatabaseError."""
    began = _generation
    used = sorted((at, prefix) for prefix, at in list(_used.items()) if unix_now - at <= IN_USE_SEC)
    latest = [prefix for _, prefix in used[-REFRESHED_AT_ONCE:]]
    old = {prefix: _entries.get(prefix) for prefix in latest}
    due = [prefix for prefix, entry in old.items() if entry is None or now - entry[0] >= REFRESH_SEC]
    if not due:
        return
    found = [_read(row) for row in ApiKey.objects.select_related("owner__member").filter(prefix__in=due)]
    # As in `look_up`.
    if began != _generation:
        return
    for key in found:
        entry = old[key.prefix]
        # The same object while nothing has changed: connections know their key by it.
        _entries[key.prefix] = (now, entry[1] if entry is not None and entry[1] == key else key)


def _read(row: ApiKey) -> KnownKey:
    return KnownKey(
        id=row.pk,
        prefix=row.prefix,
        secret_sha256=row.secret_sha256,
        user_id=row.owner_id,
        user_name=row.owner.get_username(),
        role=rights.effective(row.role, role_of(row.owner)),
        expires_at=row.expires_at.timestamp() if row.expires_at else None,
        revoked=row.revoked_at is not None,
    )


def forget(message: str) -> None:
    """Drop one key by its prefix, or all of a user by ``user:<id>``."""
    global _generation
    _generation += 1
    if message.startswith("user:"):
        for prefix, (_, key) in list(_entries.items()):
            if f"user:{key.user_id}" == message:
                _entries.pop(prefix, None)
    else:
        _entries.pop(message, None)
    _tell_listeners(message)


def forget_all() -> None:
    """When messages may have been missed."""
    global _generation
    _generation += 1
    _entries.clear()
    _tell_listeners(EVERYTHING)


def _tell_listeners(news: str) -> None:
    for listener in _listeners:
        listener(news)


def changed(message: str) -> None:
    """Call inside the transaction of a change, with a prefix or ``user:<id>``: once it is committed, every process
    drops what it remembers."""

    def tell() -> None:
        forget(message)
        redis.publish(redis.KEYS, message)

    transaction.on_commit(tell)


def note_use(prefix: str, now: float) -> None:
    """Remember a use, in Unix seconds; `write_uses` stores it later."""
    _used[prefix] = now


def write_uses() -> int:
    """Store when keys were last used. The count of keys. Raises DatabaseError."""
    count = 0
    for prefix, used in list(_used.items()):
        if _written.get(prefix) != used:
            at = datetime.fromtimestamp(used, UTC)
            ApiKey.objects.filter(prefix=prefix).exclude(last_used_at__gt=at).update(last_used_at=at)
            _written[prefix] = used
            count += 1
        elif time.time() - used > IN_USE_SEC:
            # A use since then is a new entry.
            if _used.get(prefix) == used:
                _used.pop(prefix, None)
            _written.pop(prefix, None)
    return count
