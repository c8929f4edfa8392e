"""Dead letters tried again: each becomes a new invocation of the function as it is now, once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.db import transaction

from accounts import audit
from functions import directory
from functions.directory import LiveFunction
from functions.errors import FunctionNotFound
from invocations import services
from invocations.dead_letters import DeadLetterFilter, dead_letter_get, dead_letters, resolve
from invocations.models import DeadLetter, DeadLetterStatus, Invocation
from invocations.services import NewInvocation
from nimbus_project.core.errors import NimbusError
from nimbus_project.core.ids import new_id

MAX_AT_ONCE = 500
"""Letters of one request."""


@dataclass(slots=True)
class Redriven:
    """What became of many."""

    retried: list[tuple[UUID, UUID]] = field(default_factory=list)
    """Dead letter, its new invocation."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """Reference, error."""
    remaining: int = 0
    """Pending ones of the function that are left for the next request."""


def retry(reference: str) -> tuple[DeadLetter, Invocation]:
    """One, with a full set of tries, through the alias that it came by, if any. Raises DeadLetterNotFound,
    DeadLetterResolved, FunctionNotFound, FunctionNotActive, AliasNotFound, EnvironmentNotFound, DailyQuotaExceeded."""
    with transaction.atomic():
        letter = dead_letter_get(reference, for_update=True)
        again = _invocation(letter, _function(letter))
        # Resolved first: what is in the same transaction stands or falls with it, and two at once wait for the row.
        resolve(letter, DeadLetterStatus.RETRIED, retry_invocation_id=again.id)
        row = services.submit(again)
        after = {"invocation_id": str(row.pk)}
        audit.record("dead_letter.retry", "dead_letter", letter.pk, letter.function_name, after=after)
    return letter, row


def retry_many(references: Sequence[str]) -> Redriven:
    """Each by itself: one that can't be retried is told, and harms no other."""
    done = Redriven()
    for reference in dict.fromkeys(references):
        try:
            letter, row = retry(reference)
        except NimbusError as error:
            done.failed.append((reference, error.message))
        else:
            done.retried.append((letter.pk, row.pk))
    return done


def retry_of(function_id: UUID) -> Redriven:
    """The oldest pending ones of a function, at most MAX_AT_ONCE."""
    pending = dead_letters(DeadLetterFilter(function_id=function_id, status=DeadLetterStatus.PENDING))
    ids = pending.order_by("created_at", "id").values_list("pk", flat=True)[:MAX_AT_ONCE]
    done = retry_many([str(pk) for pk in ids])
    done.remaining = pending.count() - len(done.failed)
    return done


def _function(letter: DeadLetter) -> LiveFunction:
    """By its id: another one that has its name now is not meant."""
    function_id = str(letter.function_id)
    try:
        return directory.known(function_id) or directory.look_up(function_id)
    except FunctionNotFound:
        raise FunctionNotFound(f"The function {letter.function_name} is gone: discard the dead letter.") from None


def _invocation(letter: DeadLetter, function: LiveFunction) -> NewInvocation:
    # As a new call would: an alias leads to where it points now, for that is how a repair is deployed.
    alias = letter.alias_used
    return NewInvocation(
        function=function,
        event=bytes(letter.input),
        request_id=letter.request_id,
        id=new_id(),
        trigger_type=letter.trigger_type,
        version=function.route(alias, letter.session_key, random.random()) if alias else None,
        alias=alias,
        environment=function.environment(letter.environment).environment,
        session_key=letter.session_key,
        hops=letter.hops,
        dead_letter_id=letter.pk,
    )
