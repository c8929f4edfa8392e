"""Sending a report: to a function or a workflow exactly once, in the transaction that says so; to a URL and to the
event bus at least once, under the same id. What fails is tried again with back-off, and kept when it is given up."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction

from accounts import acting
from accounts.principal import acting_as
from functions import directory
from functions.configuration import SecretUnreadable, secret_values
from invocations import backlog, hops
from invocations.models import Invocation, Report, ReportStatus, TriggerType
from invocations.reports.record import EndedRun, record_of
from invocations.retry import backoff_sec
from invocations.services import MAX_HOPS, NewInvocation, submit
from nimbus_project.config import config
from nimbus_project.core import outgoing
from nimbus_project.core.errors import NimbusError
from nimbus_project.core.ids import new_id
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.outgoing import AddressRefused, Undeliverable
from nimbus_project.core.signature import signature_headers

log = logging.getLogger("nimbus.reports")

MAX_ATTEMPTS = 20
"""With the back-off of `retry.py` these are the tries of about three quarters of an hour."""
URL_TIMEOUT_SEC = 15.0
HELD = timedelta(seconds=60)
"""How long a try may take before the next one begins: longer than the slowest answer is waited for."""

EventPublisher = Callable[[Mapping[str, Any], "int | None", int], None]
"""A CloudEvent (JSON), its owner, its hops; in the transaction of the caller. Raises NimbusError."""
_publish: EventPublisher | None = None
WorkflowStarter = Callable[[str, bytes, UUID, str, int], None]
"""A workflow's name, the input, the execution's id, the request's, its hops; in the transaction of the caller and in
the name of the function's owner. Raises NimbusError."""
_start: WorkflowStarter | None = None


class _Refused(Exception):
    """It will not be delivered, however often it is tried. The message says why."""


def register(publish: EventPublisher, start: WorkflowStarter) -> None:
    """Who has the event bus and workflows, an app above this one, says so when it starts."""
    global _publish, _start
    _publish, _start = publish, start


def take(function_id: UUID, now: datetime) -> Report | None:
    """The first due report of a function, for one try; None when there is none."""
    changes = {"attempt": backlog.Sql("attempt + 1"), "next_attempt_at": now + HELD}
    return backlog.take(Report, function_id, now, changes)


def deliver(report: Report, now: datetime) -> None:
    """One try of a report that was taken. Never raises for what the destination did; DatabaseError when the database is
    away: the next try comes by itself."""
    try:
        row = _row(report)
        request_id_var.set(row.request_id)
        _KINDS[next(iter(report.destination.keys() & _KINDS.keys()))](report, row, now)
    except (_Refused, AddressRefused) as error:
        _give_up(report, str(error))
    except Undeliverable as error:
        _put_off(report, str(error), now)
    except NimbusError as error:
        _put_off(report, error.message, now)


def _row(report: Report) -> Invocation:
    if report.hops + 1 > MAX_HOPS:
        raise _Refused(f"The run is the last of a chain of {MAX_HOPS} destinations and events: it is going round.")
    row = Invocation.objects.filter(pk=report.invocation_id).first()
    if row is None:
        raise _Refused("The invocation was deleted before it could be reported.")
    return row


def _to_function(report: Report, row: Invocation, now: datetime) -> None:
    name, _, qualifier = report.destination["function"].partition(":")
    event = _record(report, row)
    with transaction.atomic(), acting_as(acting.owner(report.owner_id)):
        if not _delivered(report, now, result_id=(invocation_id := new_id())):
            return
        function = directory.known(name) or directory.look_up(name)
        is_number = qualifier.isdigit()
        if is_number:
            directory.check_version(function, int(qualifier))
        alias = "" if is_number else qualifier
        version = int(qualifier) if is_number else function.route(alias, "", random.random()) if alias else None
        submit(
            NewInvocation(
                function=function,
                event=event,
                request_id=row.request_id,
                id=invocation_id,
                trigger_type=TriggerType.ASYNC,
                version=version,
                alias=alias,
                hops=report.hops + 1,
            )
        )


def _to_workflow(report: Report, row: Invocation, now: datetime) -> None:
    if _start is None:
        raise _Refused("There are no workflows on this platform.")
    event = _record(report, row)
    with transaction.atomic(), acting_as(acting.owner(report.owner_id)):
        if _delivered(report, now, result_id=(execution_id := new_id())):
            _start(report.destination["workflow"], event, execution_id, row.request_id, report.hops + 1)


def _to_url(report: Report, row: Invocation, now: datetime) -> None:
    body = _record(report, row)
    headers = {"content-type": "application/json", "user-agent": "Nimbus", "webhook-id": str(report.pk)}
    headers[hops.HEADER.decode()] = str(report.hops + 1)
    if name := report.destination.get("signing_secret"):
        headers |= signature_headers(_secret(report, name), str(report.pk), int(time.time()), body)
    answer = outgoing.post(report.destination["url"], body=body, headers=headers, timeout_sec=URL_TIMEOUT_SEC)
    if not answer.ok:
        raise Undeliverable(f"The URL answered with status {answer.status}.")
    _delivered(report, now)


def _to_bus(report: Report, row: Invocation, now: datetime) -> None:
    if _publish is None:
        raise _Refused("There is no event bus on this platform.")
    given = report.destination["event"]
    event = {
        "specversion": "1.0",
        "id": str(report.pk),
        "source": given.get("source", f"/nimbus/functions/{row.function_name}"),
        "type": given["type"],
        "subject": given.get("subject", str(row.pk)),
        "time": _moment(row.completed_at or now),
        "datacontenttype": "application/json",
        "data": orjson.Fragment(_record(report, row)),
    }
    with transaction.atomic():
        if _delivered(report, now):
            _publish(orjson.loads(orjson.dumps(event)), report.owner_id, report.hops)


_KINDS: dict[str, Callable[[Report, Invocation, datetime], None]] = {
    "function": _to_function,
    "workflow": _to_workflow,
    "url": _to_url,
    "event": _to_bus,
}


def _record(report: Report, row: Invocation) -> bytes:
    run = EndedRun(
        invocation_id=str(row.pk),
        request_id=row.request_id,
        function_id=str(row.function_id),
        function_name=row.function_name,
        version=row.version,
        alias=row.alias_used,
        environment=row.environment,
        trigger_type=row.trigger_type,
        hops=row.hops,
        attempts=row.attempt,
        status=row.status,
        gave_up=report.gave_up,
        event=bytes(row.input),
        result=None if row.output is None else bytes(row.output),
        error=row.error,
        error_type=row.error_type,
        stack_trace=row.stack_trace,
        ended_at=_moment(row.completed_at or row.created_at),
    )
    return record_of(run, config().max_event_bytes)


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _secret(report: Report, name: str) -> str:
    try:
        values = secret_values(report.function_id)
    except SecretUnreadable as error:
        raise Undeliverable(str(error)) from error
    if name not in values:
        raise Undeliverable(f"The function has no secret {name}, with which it is to be signed.")
    return values[name]


def _delivered(report: Report, now: datetime, **more: Any) -> bool:
    """pending → delivered, by whose try it is. False when another try has begun meanwhile."""
    done = {"status": ReportStatus.DELIVERED, "delivered_at": now, "next_attempt_at": None, "error": ""}
    return _move(report, **done, **more)


def _put_off(report: Report, error: str, now: datetime) -> None:
    if report.attempt >= MAX_ATTEMPTS:
        _give_up(report, error)
        return
    wait = timedelta(seconds=backoff_sec(report.attempt, random.random()))
    _move(report, next_attempt_at=now + wait, error=error[:1000])


def _give_up(report: Report, error: str) -> None:
    if _move(report, status=ReportStatus.FAILED, next_attempt_at=None, error=error[:1000]):
        names = {"function": report.function_name, "invocation_id": str(report.invocation_id)}
        log.warning("a run can't be reported to its destination", extra=names | {"reason": error[:300]})


def _move(report: Report, **changes: Any) -> bool:
    same = Report.objects.filter(pk=report.pk, status=ReportStatus.PENDING, attempt=report.attempt)
    return bool(same.update(**changes))
