"""Whether a value is JSON that can be stored and walked through: before anything of it is read. Pure."""

from __future__ import annotations

import math
from typing import Any, Final

from workflows.problems import Problems

MAX_DEPTH: Final = 200
"""Of arrays and objects in one another."""
MAX_NUMBER: Final = 1e300


def check(document: Any, problems: Problems) -> None:
    """Without recursion: how deep it is is what is asked."""
    left: list[tuple[Any, str, int]] = [(document, "", 1)]
    while left:
        value, path, depth = left.pop()
        if isinstance(value, (dict, list)) and depth > MAX_DEPTH:
            problems.add(path, f"is nested more than {MAX_DEPTH} deep")
        elif isinstance(value, dict):
            for name, one in value.items():
                if not isinstance(name, str) or not is_text(name):
                    problems.add(
                        path, "has a name with a character that can't be stored (U+0000, half a surrogate pair)"
                    )
                else:
                    left.append((one, f"{path}.{name[:80]}"[:400], depth + 1))
        elif isinstance(value, list):
            left.extend((one, f"{path}[{index}]"[:400], depth + 1) for index, one in enumerate(value))
        else:
            _check_scalar(value, path, problems)


def _check_scalar(value: Any, path: str, problems: Problems) -> None:
    if isinstance(value, str):
        if not is_text(value):
            problems.add(path, "has a character that can't be stored (U+0000, half a surrogate pair)")
    elif isinstance(value, (int, float)):
        if not is_finite(value):
            problems.add(path, "is a number too large, or none at all")
    elif value is not None:
        problems.add(path, f"is no JSON: {type(value).__name__}")


def is_text(text: str) -> bool:
    """It can be stored: no U+0000, and valid as UTF-8."""
    try:
        return "\0" not in text and bool(text.encode() or True)
    except UnicodeEncodeError:
        return False


def is_finite(number: int | float) -> bool:
    """It can be written and read again as the same; no NaN, no infinity."""
    return -MAX_NUMBER <= number <= MAX_NUMBER if isinstance(number, int) else math.isfinite(number)
