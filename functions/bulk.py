"""The same change for many functions: each in a transaction of its own, so that one that fails harms no other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from django.db import transaction

from functions import services
from functions.models import FunctionStatus
from functions.selectors import function_get
from nimbus_project.core.errors import NimbusError

log = logging.getLogger("nimbus.functions")

MAX_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class Failure:
    """One that was left as it was."""

    id: str
    """As the caller gave it."""
    error: str


@dataclass(slots=True)
class BulkResult:
    """References as the caller gave them, in that order."""

    success: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def bulk_delete(references: Sequence[str]) -> BulkResult:
    """By id or name. Never raises for one of them."""
    return _each(references, services.function_delete)


def bulk_update(
    references: Sequence[str], *, status: str | None = None, tags: Sequence[str] | None = None
) -> BulkResult:
    """Set `status` (active or offline), or `tags`, or both: of one function either all of it or nothing."""

    def change(reference: str) -> None:
        if status is not None:
            services.function_set_online(reference, online=status == FunctionStatus.ACTIVE)
        if tags is not None:
            services.function_update(reference, tags=tags)

    return _each(references, change)


def _each(references: Sequence[str], work: Callable[[str], object]) -> BulkResult:
    """`work` for each function once, however often and by whichever of its names it is there."""
    result = BulkResult()
    seen: set[str] = set()
    for reference in dict.fromkeys(references):
        try:
            with transaction.atomic():
                function_id = str(function_get(reference).pk)
                if function_id in seen:
                    continue
                work(function_id)
            seen.add(function_id)
            result.success.append(reference)
        except NimbusError as error:
            result.failed.append(Failure(reference, error.message))
        except Exception:
            log.exception("one of a bulk failed", extra={"function": reference})
            result.failed.append(Failure(reference, "Something went wrong inside Nimbus. The log has the details."))
    return result
