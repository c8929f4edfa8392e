"""Who is asking: the value that every check of rights is made on. Plain Python, no Django."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Set by the entrance for each request."""

    user_id: int | None = None
    """None: embedded mode without a key, which may do all and owns nothing."""
    name: str = ""
    role: str = "admin"
    key_prefix: str = ""
    address: str = ""

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

    def may_see(self, owner_id: int | None, shared: bool) -> bool:
        """An admin all; others what is theirs, shared, or nobody's."""
        return self.is_admin or shared or owner_id is None or owner_id == self.user_id


EMBEDDED = Principal()
"""Loopback without a key, where keys are not required."""

principal_var: ContextVar[Principal] = ContextVar("nimbus_principal", default=EMBEDDED)
