"""Identifiers: made here, checked here."""

from __future__ import annotations

import os
import re
import time
import uuid

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}\Z")


def new_id() -> uuid.UUID:
    """A UUID version 7 (RFC 9562 §5.7): time-ordered, so that rows of one time lie together in an index."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)


def as_uuid(text: str) -> uuid.UUID | None:
    """The UUID that `text` spells in its usual 36 characters, else None."""
    if len(text) != 36:
        return None
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def sane_request_id(text: str | None) -> str | None:
    """An incoming `X-Request-Id` if it can go into headers, log lines and a database column as it is."""
    return text if text and _REQUEST_ID.match(text) else None
