"""Timestamps of the language: RFC 3339 with an uppercase T, and an uppercase Z where there is no offset. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

_FORM: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
)


def parse(text: str) -> datetime | None:
    """None where it is none. Of a fraction the first six digits count."""
    if len(text) > 40 or not _FORM.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
