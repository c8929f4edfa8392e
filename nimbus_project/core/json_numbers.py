"""Numbers on their way through a JSON column."""

from __future__ import annotations

import json
from typing import Any

_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


class JsonNumbers(json.JSONDecoder):
    """`decoder` of a JSONField with numbers that users chose. PostgreSQL's jsonb spells 1e300 with three hundred zeros,
    which Python reads as an integer that no JSON writer here takes: it is the float again."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "parse_int": _number})


def _number(text: str) -> int | float:
    # Longer than any integer of 64 bits; int() itself refuses thousands of digits.
    if len(text) > 20:
        return float(text)
    number = int(text)
    return number if _SMALLEST <= number <= _LARGEST else float(number)
