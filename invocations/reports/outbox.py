"""Reports to be sent: stored in the transaction that ends the run, so that neither is there without the other."""

from __future__ import annotations

from datetime import datetime

from functions import directory
from functions.destinations import Destination
from functions.errors import FunctionNotFound
from invocations.models import Invocation, Report
from invocations.outcome import Outcome, Status
from invocations.retry import GaveUp
from nimbus_project.core import queue
from nimbus_project.core.queue import Task


def destination_of(row: Invocation, outcome: Outcome) -> Destination:
    """Where this end is to be reported, as its function says now; empty: nowhere. Before the transaction, for it may
    read."""
    if outcome.status == Status.CANCELLED:
        return {}
    function_id = str(row.function_id)
    try:
        function = directory.known(function_id) or directory.look_up(function_id)
    except FunctionNotFound:
        return {}
    return function.on_success if outcome.ok else function.on_failure


def add(row: Invocation, gave_up: GaveUp | None, destination: Destination, now: datetime) -> Report:
    """In the transaction that ends the run."""
    report = Report.objects.create(
        invocation_id=row.pk,
        function_id=row.function_id,
        function_name=row.function_name,
        owner_id=row.owner_id,
        gave_up=gave_up or "",
        destination=destination,
        hops=row.hops,
        next_attempt_at=now,
        created_at=now,
    )
    queue.wake_after_commit(Task.REPORT, str(row.function_id))
    return report
