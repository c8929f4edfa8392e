"""How far along a chain something is, told over HTTP: so that a chain which leaves the platform and comes back is one.

A CloudEvents extension attribute, ``nimbushops``; as a header it is what binary mode makes of it, and stands also in
what is posted to a destination's URL. It is believed, for it can only end a chain earlier.
"""

from __future__ import annotations

ATTRIBUTE = "nimbushops"
HEADER = b"ce-nimbushops"
_MOST = 99


def told(value: object) -> int:
    """0 for whatever is no count."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        # What is longer is more than enough.
        value = int(value[:4])
    return min(value, _MOST) if isinstance(value, int) and value > 0 else 0
