"""What a caller means by a reference to something with an owner: its id, or its name, which is each owner's own."""

from __future__ import annotations

from typing import TypeVar

from django.db.models import QuerySet

from accounts.principal import principal_var
from nimbus_project.core.errors import NotFound
from nimbus_project.core.ids import as_uuid
from triggers.errors import AmbiguousName
from triggers.models import AlertRule, EventRule

Row = TypeVar("Row", EventRule, AlertRule)


def meant(rows: QuerySet[Row], reference: str, kind: str, missing: type[NotFound]) -> Row:
    """One of `rows`, those that may be seen, by id or name; of one name, the principal's own first. Raises `missing`,
    AmbiguousName."""
    uuid = as_uuid(reference)
    found = list(rows.filter(pk=uuid)) if uuid else []
    if not found and "\0" not in reference:
        found = list(rows.filter(name=reference))
        own = [row for row in found if row.owner_id == principal_var.get().user_id]
        found = own or found
    if len(found) > 1:
        raise AmbiguousName(f"Several owners have an {kind} of this name: give its id.")
    if not found:
        raise missing(f"There is no {kind} of this id or name.")
    return found[0]
