"""What happens on the platform, as events on its bus: types that begin with ``nimbus.``, of the owner of the function
or the workflow.

Heard in the transaction of what happened (`functions/news.py`), so that an event is there exactly when that is. A run
that succeeds tells nothing and costs nothing. Synchronous calls that fail are their callers' to know: a queued
invocation is told when it is given up, with its dead letter.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from django.db import transaction
from django.utils import timezone

from functions.models import Function
from invocations.models import DeadLetter
from nimbus_project.core.ids import new_id
from triggers import bus, cloudevents
from workflows.models import Execution

log = logging.getLogger("nimbus.events")

INVOCATION_FAILED = "nimbus.invocation.failed"
EXECUTION_FINISHED = "nimbus.execution.finished"
MAX_ERROR = 8192
"""Characters of an execution's error: what a Fail state says may be as long as an event."""
ROLLOUTS = {
    "rollout.started": "nimbus.rollout.started",
    "rollout.advanced": "nimbus.rollout.advanced",
    "rollout.completed": "nimbus.rollout.completed",
    "rollout.returned": "nimbus.rollout.rolled_back",
    "rollout.paused": "nimbus.rollout.paused",
    "rollout.resumed": "nimbus.rollout.resumed",
    "rollout.aborted": "nimbus.rollout.aborted",
}
"""By what `functions/rollouts.py` tells. Types are permanent once released."""


def hear(kind: str, detail: Mapping[str, Any]) -> None:
    """A listener of `functions.news`."""
    try:
        # A savepoint: what goes wrong here must not undo what it is about.
        with transaction.atomic():
            if kind == "invocation.failed":
                _invocation_failed(detail["dead_letter_id"])
            elif kind == "execution.finished":
                _execution_finished(detail["execution_id"])
            elif kind in ROLLOUTS:
                _rollout(ROLLOUTS[kind], detail)
    except Exception:
        log.exception("an event of the platform can't be published", extra={"kind": kind})


def publish(
    type_: str, function_name: str, subject: str, data: Mapping[str, Any], *, owner_id: int | None, **more: Any
) -> None:
    """One event of this owner, about a function. `more`: `shared`, `hops`, as `bus.publish`."""
    source = f"/nimbus/functions/{quote(function_name)}" if function_name else "/nimbus"
    _publish(type_, source, subject, data, owner_id, **more)


def _publish(type_: str, source: str, subject: str, data: Mapping[str, Any], owner_id: int | None, **more: Any) -> None:
    document = {
        "specversion": cloudevents.SPECVERSION,
        "id": str(new_id()),
        "source": source,
        "type": type_,
        "subject": subject,
        "time": timezone.now().isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": dict(data),
    }
    bus.publish([cloudevents.from_json(document)], owner_id, **more)


def _invocation_failed(dead_letter_id: str) -> None:
    letter = DeadLetter.objects.defer("input").get(pk=dead_letter_id)
    data = {
        "invocation_id": str(letter.invocation_id),
        "dead_letter_id": str(letter.pk),
        "function_id": str(letter.function_id),
        "function_name": letter.function_name,
        "version": letter.version,
        "alias_used": letter.alias_used,
        "trigger_type": str(letter.trigger_type),
        "reason": str(letter.reason),
        "error": letter.error,
        "error_type": letter.error_type,
        "attempts": letter.attempts,
        "request_id": letter.request_id,
    }
    shared = Function.objects.filter(pk=letter.function_id, shared=True).exists()
    about: dict[str, Any] = {"owner_id": letter.owner_id, "shared": shared, "hops": letter.hops}
    publish(INVOCATION_FAILED, letter.function_name, str(letter.invocation_id), data, **about)


def _execution_finished(execution_id: str) -> None:
    row = Execution.objects.defer("input", "output").get(pk=execution_id)
    data = {
        "execution_id": str(row.pk),
        "workflow_id": str(row.workflow_id),
        "workflow_name": row.workflow_name,
        "workflow_version": row.workflow_version,
        "status": str(row.status),
        "trigger_type": str(row.trigger_type),
        "started_at": _moment(row.started_at),
        "completed_at": _moment(row.completed_at),
    }
    error = {"error": row.error[:MAX_ERROR], "error_code": row.error_code}
    data |= {name: text for name, text in error.items() if text}
    source = f"/nimbus/workflows/{quote(row.workflow_name)}"
    _publish(EXECUTION_FINISHED, source, str(row.pk), data, row.owner_id, hops=row.hops)


def _moment(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if at else None


def _rollout(type_: str, detail: Mapping[str, Any]) -> None:
    function = Function.objects.only("owner_id", "shared").get(pk=detail["function_id"])
    name = detail["function_name"]
    subject = f"{name}:{detail['alias']}"
    publish(type_, name, subject, detail, owner_id=function.owner_id, shared=function.shared)
