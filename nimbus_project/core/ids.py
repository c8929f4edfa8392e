"""Identifiers: made here, checked here."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections import deque

_CHANCE_BYTES = 10
_DRAWN = 128
"""Ids' worth at once."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}\Z")


def new_id() -> uuid.UUID:
    """A UUID version 7 (RFC 9562 §5.7): time-ordered, so that rows of one time lie together in an index."""
    return uuid.UUID(int=_number())


def new_id_text() -> str:
    """As text, which is cheaper to make."""
    digits = f"{_number():032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _number() -> int:
    try:
        chance = _chances.popleft()
    except IndexError:
        chance = _draw()
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(chance, "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    return value & ~(0x3 << 62) | 0x2 << 62


_chances: deque[bytes] = deque()
"""Drawn ahead: each draw gives Python's lock away, and with it up to a switch interval if another thread has work."""


def _draw() -> bytes:
    drawn = os.urandom(_CHANCE_BYTES * _DRAWN)
    _chances.extend(drawn[at : at + _CHANCE_BYTES] for at in range(_CHANCE_BYTES, len(drawn), _CHANCE_BYTES))
    return drawn[:_CHANCE_BYTES]


# A child would otherwise make its parent's ids once more.
os.register_at_fork(after_in_child=_chances.clear)


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
