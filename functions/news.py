"""What happened to functions and their runs, for whoever wants to act upon it: told here, heard by whoever registered.

Functions and invocations lie below triggers and can't import them; the bus of platform events registers itself when the
process starts (`triggers/apps.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from django.db import transaction

log = logging.getLogger("nimbus.functions")

Listener = Callable[[str, Mapping[str, Any]], None]
"""Called with a kind such as ``rollout.returned`` and its details (plain JSON values)."""
_listeners: list[Listener] = []


def register(listener: Listener) -> None:
    """It is called in the transaction of the change: what it writes stands or falls with that. It must not raise."""
    _listeners.append(listener)


def tell(kind: str, **detail: Any) -> None:
    """Call inside the transaction of the change. Logged once that is committed: ids and names, no payloads."""
    for listener in _listeners:
        listener(kind, detail)
    transaction.on_commit(partial(log.info, kind, extra=detail))
