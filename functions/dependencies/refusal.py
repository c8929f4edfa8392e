"""How a list is refused."""

from __future__ import annotations

from nimbus_project.core.errors import InvalidRequest


def refused(name: str, reason: str) -> InvalidRequest:
    """`name`: the list and, where that helps, the line."""
    message = f"{name}: {reason}"
    return InvalidRequest(f"archive: {message}", details={"archive": [message]})
