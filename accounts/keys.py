"""API keys as text: ``nmb_<prefix>_<secret>``. Pure: chance comes in as bytes.

The prefix finds the key and may be shown; the secret is kept as its sha256 only.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

START = "nmb_"
PREFIX_LENGTH = 10
SECRET_LENGTH = 43
# Bytes of chance that `make` wants: 60 bits for the prefix, 256 for the secret.
CHANCE_BYTES = 8 + 32
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_KEY = re.compile(rf"nmb_([0-9A-Za-z]{{{PREFIX_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})\Z")


@dataclass(frozen=True, slots=True)
class KeyText:
    """A key in its two parts."""

    prefix: str
    secret: str

    def __str__(self) -> str:
        return f"{START}{self.prefix}_{self.secret}"

    def __repr__(self) -> str:
        return f"KeyText({self.prefix})"


def make(chance: bytes) -> KeyText:
    """A new key out of CHANCE_BYTES random bytes. Raises ValueError for fewer."""
    if len(chance) < CHANCE_BYTES:
        raise ValueError(f"a key needs {CHANCE_BYTES} random bytes")
    return KeyText(_text(chance[:8], PREFIX_LENGTH), _text(chance[8:CHANCE_BYTES], SECRET_LENGTH))


def parse(text: str) -> KeyText | None:
    """The parts of what may be a key, else None."""
    found = _KEY.match(text)
    return KeyText(found[1], found[2]) if found else None


def digest(secret: str) -> str:
    """What is stored: sha256 in hex. 256 bits of chance need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(secret: str, stored: str) -> bool:
    """Whether the secret is the stored one's, in a time that does not depend on where they differ."""
    return hmac.compare_digest(digest(secret), stored)


def _text(data: bytes, length: int) -> str:
    """`length` letters and digits; 62**10 < 2**60 and 62**43 < 2**257, so all of them are reached."""
    number = int.from_bytes(data)
    letters = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return "".join(letters)
