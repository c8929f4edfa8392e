"""What a caller means by a reference to something with an owner: its id, or its name, which is each owner's own."""

from __future__ import annotations

from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from accounts.errors import AmbiguousName
from accounts.principal import principal_var
from nimbus_project.core.errors import NotFound
from nimbus_project.core.ids import as_uuid

Row = TypeVar("Row", bound=Model)


def meant(rows: QuerySet[Row], reference: str, kind: str, missing: type[NotFound]) -> Row:
    """One of `rows` (of a model with `owner_id` and `name`), those that may be seen, by id or name; of one name, the
    principal's own first. Raises `missing`, AmbiguousName."""
    uuid = as_uuid(reference)
    found: list[Any] = list(rows.filter(pk=uuid)) if uuid else []
    if not found and "\0" not in reference:
        found = list(rows.filter(name=reference))
        own = [row for row in found if row.owner_id == principal_var.get().user_id]
        found = own or found
    if len(found) > 1:
        raise AmbiguousName("Several owners have one of this name: give its id.")
    if not found:
        raise missing(f"There is no {kind} of this id or name.")
    chosen: Row = found[0]
    return chosen
