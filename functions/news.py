"""What happened to functions, for whoever wants to act upon it: told here, heard by whoever registered.

Functions lie below triggers and can't import them; the bus of platform events registers itself when it starts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from django.db import transaction

log = logging.getLogger("nimbus.functions")

Listener = Callable[[str, Mapping[str, Any]], None]
"""Called with a kind such as ``rollout.returned`` and its details (plain JSON values)."""
_listeners: list[Listener] = []


def register(listener: Listener) -> None:
    """It must not raise: it is called after the change was committed."""
    _listeners.append(listener)


def tell(kind: str, **detail: Any) -> None:
    """Call inside the transaction of the change; heard once that is committed."""

    def publish() -> None:
        log.info(kind, extra=detail)
        for listener in _listeners:
            listener(kind, detail)

    transaction.on_commit(publish)
