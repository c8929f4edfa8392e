"""Roles and what they may do. Plain Python.

The roles are not a chain: a viewer reads but calls nothing, an invoker calls but reads nothing of others.
"""

from __future__ import annotations

from enum import StrEnum

ADMIN, DEVELOPER, VIEWER, INVOKER = "admin", "developer", "viewer", "invoker"

_WITHIN: dict[str, frozenset[str]] = {
    ADMIN: frozenset({ADMIN, DEVELOPER, VIEWER, INVOKER}),
    DEVELOPER: frozenset({DEVELOPER, VIEWER, INVOKER}),
    VIEWER: frozenset({VIEWER}),
    INVOKER: frozenset({INVOKER}),
}


class Right(StrEnum):
    """What a route asks for."""

    PUBLIC = "public"
    """Nothing; or the page has its own login."""
    KNOWN = "known"
    """Any role."""
    INVOKE = "invoke"
    READ = "read"
    WRITE = "write"
    MANAGE = "manage"
    """Users, settings, the audit log."""


ROLES_WITH: dict[Right, frozenset[str]] = {
    Right.PUBLIC: frozenset({ADMIN, DEVELOPER, VIEWER, INVOKER, ""}),
    Right.KNOWN: frozenset({ADMIN, DEVELOPER, VIEWER, INVOKER}),
    Right.INVOKE: frozenset({ADMIN, DEVELOPER, INVOKER}),
    Right.READ: frozenset({ADMIN, DEVELOPER, VIEWER}),
    Right.WRITE: frozenset({ADMIN, DEVELOPER}),
    Right.MANAGE: frozenset({ADMIN}),
}


def may_give(giver: str, role: str) -> bool:
    """Whether a member of role `giver` may hold a key of `role`."""
    return role in _WITHIN.get(giver, frozenset())


def effective(key_role: str, owner_role: str) -> str:
    """What a key may do today: never more than its owner, whose role may have changed since. Empty: nothing."""
    if may_give(owner_role, key_role):
        return key_role
    return owner_role if may_give(key_role, owner_role) else ""
