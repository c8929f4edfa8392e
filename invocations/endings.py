"""Who wants to know that a queued run has ended: told in the transaction of its end, by what started it.

An app above this one registers itself for its kind of trigger (`workflows/apps.py`). What it starts is its own to deal
with: such a run leaves neither a dead letter nor a report, and is tried again only for what the platform did to it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

Listener = Callable[[UUID, datetime], None]
"""An invocation's id, and when it ended. What it writes stands or falls with that end."""
_listeners: dict[str, Listener] = {}


def register(trigger_type: str, listener: Listener) -> None:
    _listeners[trigger_type] = listener


def has_listener(trigger_type: str) -> bool:
    return trigger_type in _listeners


def tell(trigger_type: str, invocation_id: UUID, now: datetime) -> None:
    """In the transaction of the end."""
    if listener := _listeners.get(trigger_type):
        listener(invocation_id, now)
