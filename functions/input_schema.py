"""What events a version takes: its JSON Schema, checked when it is set and held against each event of invoke and async.

The dialects are 2020-12 (also without `$schema`), 2019-09 and draft-07, of these all but `unevaluated*` and dynamic
references; `format` is a note to readers. How it is kept within bounds: `functions/schema_validator.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson

from functions.errors import InvalidEvent

MAX_BYTES = 16 * 1024
"""As JSON text."""
MAX_COST = 1_000_000
"""About a second."""
INLINE_BYTES = 16 * 1024
INLINE_COST = 2_500
"""What a check may cost where others wait for it, some milliseconds; a longer one goes to a thread."""

InThread = Callable[..., Awaitable[Any]]


def problems_of(schema: Any) -> Mapping[str, list[str]]:
    """Why this can't be an input_schema, by place within it; empty when it can."""
    from functions import schema_validator

    try:
        size = len(orjson.dumps(schema))
    except TypeError:
        return {"": ["Must be JSON."]}
    if size > MAX_BYTES:
        return {"": [f"Is {size} bytes long; at most {MAX_BYTES} (16 KiB) are allowed."]}
    return schema_validator.problems_of(schema)


def stored(schema: Mapping[str, Any]) -> bytes:
    """A version's schema as `admit` wants it; made ready, by who can wait, for those who can't."""
    from functions import schema_validator

    text = orjson.dumps(schema)
    schema_validator.validator_of(text)
    return text


async def admit(schema: bytes | None, event: bytes, in_thread: InThread) -> None:
    """Let an event pass that fits, and all where there is no schema. Raises InvalidEvent."""
    if schema is None:
        return
    from functions.schema_validator import TooCostly

    if len(event) <= INLINE_BYTES:
        with suppress(TooCostly):
            _check(schema, event, INLINE_COST)
            return
    try:
        await in_thread(_check, schema, event, MAX_COST)
    except TooCostly:
        raise InvalidEvent(
            "The event is too large or nested too deep to be held against the function's input_schema."
        ) from None


def _check(schema: bytes, event: bytes, cost: int) -> None:
    """Raises InvalidEvent, TooCostly."""
    from functions import schema_validator

    try:
        faults = schema_validator.faults_of(schema, event, cost)
    except schema_validator.Unusable as error:
        raise InvalidEvent(f"The function's input_schema can't be used: {error}") from error
    if faults:
        where, messages = next(iter(faults.items()))
        first = messages[0] if where == "body" else f"{where}: {messages[0]}"
        raise InvalidEvent(f"The event does not fit the function's input_schema: {first}", details=faults)
