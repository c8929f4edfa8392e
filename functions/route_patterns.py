"""Patterns of custom routes, such as ``/users/{id}``: which there may be, and when two are the same. Pure.

A segment is literal text, a parameter ``{name}`` that takes one segment, or, as the last one, ``{name+}`` that takes
all the rest, one segment at least.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

MAX_PATH = 512
MAX_SEGMENTS = 16
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
DEFAULT_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")

# What RFC 3986 lets stand in a segment without an escape, but braces: the path is matched as it is after decoding.
_LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+\Z")
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})(\+?)\}\Z")


class Kind(StrEnum):
    LITERAL = "literal"
    PARAMETER = "parameter"
    REST = "rest"


@dataclass(frozen=True, slots=True)
class Segment:
    kind: Kind
    text: str
    """The literal, or the parameter's name."""


@dataclass(frozen=True, slots=True)
class Pattern:
    segments: tuple[Segment, ...]

    @property
    def canonical(self) -> str:
        """The same for patterns that match the same paths: names of parameters do not count."""
        return "".join(f"/{_CANONICAL.get(s.kind, s.text)}" for s in self.segments)

    @property
    def names(self) -> tuple[str, ...]:
        """Of its parameters, in order."""
        return tuple(s.text for s in self.segments if s.kind is not Kind.LITERAL)


_CANONICAL = {Kind.PARAMETER: "{}", Kind.REST: "{+}"}


def parse(text: str, reserved: Collection[str] = ()) -> Pattern:
    """`reserved`: first segments that are taken, in lower case. Raises ValueError with a sentence that says what is
    wrong."""
    if not text.startswith("/"):
        raise ValueError("Must start with /.")
    if len(text) > MAX_PATH:
        raise ValueError(f"Must have at most {MAX_PATH} characters.")
    # With and without a trailing slash is the same address everywhere in Nimbus.
    parts = text.rstrip("/").split("/")[1:]
    if not parts:
        raise ValueError("The address / is taken by the platform itself.")
    if len(parts) > MAX_SEGMENTS:
        raise ValueError(f"Must have at most {MAX_SEGMENTS} segments.")
    pattern = Pattern(tuple(_segment(part, is_last=n == len(parts)) for n, part in enumerate(parts, 1)))
    first = pattern.segments[0]
    if first.kind is Kind.LITERAL and first.text.lower() in reserved:
        raise ValueError(f"Addresses below /{first.text} are taken by the platform itself.")
    if len(set(pattern.names)) != len(pattern.names):
        raise ValueError("Each parameter may be there once.")
    return pattern


def _segment(part: str, *, is_last: bool) -> Segment:
    if found := _PARAMETER.match(part):
        if found[2] and not is_last:
            raise ValueError(f"{part[:80]} takes all the rest, so it must be the last segment.")
        return Segment(Kind.REST if found[2] else Kind.PARAMETER, found[1])
    if "{" in part or "}" in part:
        raise ValueError(f"{part[:80]!r}: a parameter is a whole segment, such as {{id}}, or {{rest+}} at the end.")
    if part in ("", ".", ".."):
        raise ValueError("Must not have empty segments, nor . and ..")
    if not _LITERAL.match(part):
        raise ValueError(f"{part[:80]!r}: only letters, digits and - . _ ~ ! $ & ' ( ) * + , ; = : @ may be in it.")
    return Segment(Kind.LITERAL, part)
