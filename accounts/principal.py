"""Who is asking: the value that every check of rights is made on. Plain Python, no Django."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Set by the entrance for each request."""

    user_id: int | None = None
    """None: embedded mode without a key, which may do all and owns nothing; or nobody, who may do nothing."""
    name: str = ""
    role: str = "admin"
    """A value of `accounts.models.Role`; empty for nobody."""
    key_prefix: str = ""
    address: str = ""

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

    def may_see(self, owner_id: int | None, shared: bool) -> bool:
        """An admin all; others what is theirs, shared, or nobody's; without a role nothing."""
        return self.role == "admin" or (self.role != "" and (shared or owner_id is None or owner_id == self.user_id))


EMBEDDED = Principal()
"""Loopback without a key, where keys are not required; also workers and the platform itself."""

NOBODY = Principal(role="")
"""A request without credentials where they are required: before a login page, at a webhook."""

principal_var: ContextVar[Principal] = ContextVar("nimbus_principal", default=EMBEDDED)
"""The entrance sets it for every request, to NOBODY first; code that no request runs is the platform's own."""


@contextmanager
def acting_as(principal: Principal) -> Iterator[None]:
    """Run the block with another principal's rights; `EMBEDDED` for what the platform does on its own account, such as
    a webhook that was let in by its own key."""
    token = principal_var.set(principal)
    try:
        yield
    finally:
        principal_var.reset(token)
