"""A worker's directory of event rules, compiled, from memory.

An event that is published after its rule was written must find it, so news that may be late or lost won't do here: each
look asks the database which rules there are and when each was last changed, together with what its owner may do today.
That is one small query for all events that are fanned out at once; patterns and targets are read and compiled when they
have changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q

from accounts import standing
from accounts.principal import Principal
from accounts.selectors import role_from
from triggers import event_rules
from triggers.event_rules import Target
from triggers.models import EventRule
from triggers.patterns import Pattern

MAX_ENTRIES = 10_000

_HEAD = ("pk", "updated_at", "owner_id", "role")
_OWNER = ("owner__username", "owner__is_active", "owner__is_superuser", "owner__member__role")


@dataclass(frozen=True, slots=True)
class LiveRule:
    """A rule as an event sees it."""

    id: UUID
    name: str
    owner_id: int | None
    who: Principal
    """As whom it acts: its owner, with the rights of today."""
    pattern: Pattern
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class _Compiled:
    updated_at: datetime
    name: str
    pattern: Pattern
    targets: tuple[Target, ...]


_entries: dict[UUID, _Compiled] = {}


def rules(where: Q) -> list[LiveRule]:
    """Those that `where` names, in a fixed order."""
    heads = list(EventRule.objects.filter(where).order_by("pk").values_list(*_HEAD, *_OWNER))
    known = _known({pk: updated_at for pk, updated_at, *_ in heads})
    return [_live(known[head[0]], *head) for head in heads if head[0] in known]


def _known(wanted: dict[UUID, datetime]) -> dict[UUID, _Compiled]:
    """By id; without those that were deleted since they were looked up."""
    found = {pk: entry for pk in wanted if (entry := _entries.get(pk)) and entry.updated_at == wanted[pk]}
    if missing := wanted.keys() - found.keys():
        if len(_entries) + len(missing) > MAX_ENTRIES:
            _entries.clear()
        for row in EventRule.objects.filter(pk__in=missing):
            pattern, targets = event_rules.pattern_of(row.pattern), event_rules.targets_of(row.targets)
            found[row.pk] = _entries[row.pk] = _Compiled(row.updated_at, row.name, pattern, targets)
    return found


def _live(entry: _Compiled, pk: UUID, _: datetime, owner_id: int | None, role: str, *owner: Any) -> LiveRule:
    return LiveRule(pk, entry.name, owner_id, _principal(owner_id, role, *owner), entry.pattern, entry.targets)


def _principal(
    owner_id: int | None, role: str, name: str | None, is_active: bool, is_superuser: bool, member: str | None
) -> Principal:
    if owner_id is None:
        return standing.nobodys()
    today = role_from(is_active=is_active, is_superuser=is_superuser, role=member or "")
    return standing.someones(owner_id, name or "", role, today)
