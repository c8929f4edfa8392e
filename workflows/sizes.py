"""How large values are, without writing them: what is built from parts that are named often may be far larger than
what it is built from. Pure."""

from __future__ import annotations

from typing import Any

from workflows.states import DATA_LIMIT, Failure


def check_size(value: Any, limit: int) -> int:
    """About its bytes as JSON text, at most those. Raises `Failure(DATA_LIMIT)` as soon as they are above `limit`."""
    size = 0
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            size += len(one) + 2
        elif isinstance(one, dict):
            size += 2 + sum(len(key) + 4 for key in one)
            left.extend(one.values())
        elif isinstance(one, list):
            size += 2 + len(one)
            left.extend(one)
        else:
            size += 1
        if size > limit:
            raise Failure(DATA_LIMIT, f"What a state makes of its data may have {limit:,} bytes")
    return size
