"""The web process's directory of webhooks: what a call by key needs to know, from memory.

As in `functions.directory`: an entry is dropped when the function or its owner changes, here or elsewhere, and after
MAX_AGE_SEC in any case. Only enabled webhooks are remembered, and of those only such whose owner may call functions
today; for a key that is unknown and for one that is disabled the same is done each time: one digest, one query that
finds nothing, one comparison.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from uuid import UUID

import orjson

from accounts import acting
from accounts import directory as known_keys
from functions import directory
from nimbus_project.config import network_of
from nimbus_project.core.crypto import Undecryptable, keyring
from nimbus_project.core.errors import Unavailable
from triggers.errors import WebhookNotFound
from triggers.models import Webhook
from triggers.signing import Scheme, Signature, key_of

MAX_AGE_SEC = 5.0
MAX_ENTRIES = 10_000
_NOBODYS = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveWebhook:
    """A webhook as a call sees it."""

    digest: bytes
    """sha256 of its key."""
    function_id: str
    owner_id: int | None
    """Of the function."""
    signature: Signature
    networks: tuple[IPv4Network | IPv6Network, ...]
    """Who may call; empty: everybody."""
    rate_limit_per_min: int
    is_async: bool


_entries: dict[bytes, tuple[float, LiveWebhook]] = {}
_generation = 0


def digest_of(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def known(digest: bytes) -> LiveWebhook | None:
    """From memory or not at all: never blocks."""
    entry = _entries.get(digest)
    return entry[1] if entry is not None and time.monotonic() - entry[0] < MAX_AGE_SEC else None


def look_up(digest: bytes) -> LiveWebhook | None:
    """From the database, into memory. None for a key that is unknown or disabled, or whose owner is. Raises Unavailable
    when its secrets can't be decrypted."""
    began = _generation
    rows = Webhook.objects.filter(key_sha256=digest.hex(), function__webhook_enabled=True)
    row = rows.select_related("function__owner__member").first()
    if row is None or not acting.may_be_called(row.function.owner):
        return None
    try:
        live = _read(row)
    except Undecryptable as error:
        raise Unavailable(
            "The secret of this webhook can't be read. Set it again.", code="secret_unreadable"
        ) from error
    # A change while the row was being read would otherwise be overwritten by what was read before it.
    if began == _generation:
        if len(_entries) >= MAX_ENTRIES:
            _entries.clear()
        _entries[digest] = (time.monotonic(), live)
    return live


def checked(live: LiveWebhook | None, digest: bytes) -> LiveWebhook:
    """Raises WebhookNotFound."""
    # The digest of what was sent says nothing of how near it is to a key; compared in constant time all the same.
    is_same = hmac.compare_digest(live.digest if live is not None else _NOBODYS, digest)
    if live is None or not is_same:
        raise WebhookNotFound("There is no webhook at this address.")
    return live


def _read(row: Webhook) -> LiveWebhook:
    scheme = Scheme(row.scheme)
    return LiveWebhook(
        digest=bytes.fromhex(row.key_sha256),
        function_id=str(row.function_id),
        owner_id=row.function.owner_id,
        signature=Signature(
            scheme=scheme,
            secrets=tuple(key_of(scheme, secret) for secret in secrets_of(row)) if scheme is not Scheme.NONE else (),
            header=row.header,
            tolerance_sec=row.tolerance_sec,
        ),
        networks=tuple(network_of(text) for text in row.ip_allow),
        rate_limit_per_min=row.rate_limit_per_min,
        is_async=row.mode == "async",
    )


def seal_secrets(function_id: UUID, secrets: Sequence[str]) -> bytes | None:
    """What is stored of them."""
    return keyring().encrypt(orjson.dumps(list(secrets)).decode(), _place(function_id)) if secrets else None


def secrets_of(row: Webhook) -> list[str]:
    """In clear, newest first. Raises Undecryptable."""
    if row.secrets_ciphertext is None:
        return []
    secrets: list[str] = orjson.loads(keyring().decrypt(bytes(row.secrets_ciphertext), _place(row.function_id)))
    return secrets


def _place(function_id: UUID) -> str:
    return f"webhook/{function_id}/secrets"


def _hear(news: str) -> None:
    """Of functions, by their ids; of users, as ``user:<id>``."""
    global _generation
    _generation += 1
    if news in (directory.EVERYTHING, known_keys.EVERYTHING):
        _entries.clear()
        return
    for digest, (_, live) in list(_entries.items()):
        if news in (live.function_id, f"user:{live.owner_id}"):
            _entries.pop(digest, None)


directory.listen(_hear)
known_keys.listen(_hear)
