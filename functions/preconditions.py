"""`If-Match` and `ETag` of a function. Pure.

The tag is the highest version number given out, in quotes: it counts up with every change of code or configuration,
also while that change is still being built or when its build has failed, so that nobody builds upon what they have not
seen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nimbus_project.core.errors import InvalidRequest, PreconditionFailed

_TAG = re.compile(r'(W/)?"([^"]*)"\Z')
_NUMBER = re.compile(r"[0-9]{1,9}\Z")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a client takes the function to be at. No number: any."""

    numbers: frozenset[int] | None = None

    def check(self, number: int) -> None:
        """Raises PreconditionFailed, naming the present version. Call it under the row lock that the change holds."""
        if self.numbers is not None and number not in self.numbers:
            raise PreconditionFailed(
                f"The function is at version {number} now, not at the one in If-Match: somebody changed it meanwhile. "
                "Read it again and repeat the change on what it is."
            )


ANY = Expected()


def expected_from(header: str | None) -> Expected:
    """From `If-Match`: absent or ``*``, ``"3"``, ``3``, or a comma list. A weak tag matches nothing (RFC 9110 §13.1.1).
    Raises InvalidRequest for what is no entity tag."""
    text = (header or "").strip()
    if not text or text == "*":
        return ANY
    numbers: set[int] = set()
    for part in (piece.strip() for piece in text.split(",")):
        tag = _TAG.match(part)
        if tag is None and not _NUMBER.match(part):
            raise InvalidRequest('If-Match must be a version number such as "3".', details={"If-Match": [f"{part!r}"]})
        opaque = part if tag is None else "" if tag[1] else tag[2]
        if _NUMBER.match(opaque):
            numbers.add(int(opaque))
    return Expected(frozenset(numbers))


def etag(number: int) -> str:
    """The `ETag` header of a function whose last version number is `number`."""
    return f'"{number}"'
