"""Rows that are kept for a while: what a table says of its own, and how old ones are deleted without being noticed.

Each batch finds its rows by the index of their age and deletes them by their keys, in a transaction of its own that
lasts milliseconds; nothing else is locked, and on SQLite others write between two batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from nimbus_project.config import Config

Delete = Callable[[datetime, int], int]
"""Delete at most so many rows from before a time, oldest first. The count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prunable:
    """One table that loses its old rows."""

    name: str
    """As the API calls it."""
    keep_days: Callable[[Config], int]
    """0: for ever."""
    rows: Callable[[], QuerySet[Any]]
    """All there are."""
    age: str
    """The field that says since when a row is there; indexed."""
    may_go: Callable[[datetime], Q] = lambda _: Q()
    """What else must be true of a row from before this time."""
    least_days: int = 0
    """Younger ones stay, whatever an administrator asks for."""
    delete_rows: Delete | None = None
    """Where the table has a way of its own."""

    def old(self, before: datetime) -> QuerySet[Any]:
        """What may go of the time before."""
        return self.rows().filter(self.may_go(before), **{f"{self.age}__lt": before})

    def oldest(self) -> datetime | None:
        found: datetime | None = self.rows().order_by(self.age).values_list(self.age, flat=True).first()
        return found

    def delete(self, before: datetime, limit: int) -> int:
        """One batch, oldest first. The count."""
        if self.delete_rows is not None:
            return self.delete_rows(before, limit)
        keys = list(self.old(before).order_by(self.age).values_list("pk", flat=True)[:limit])
        return self.rows().filter(pk__in=keys).delete()[0] if keys else 0
