"""Reports as people see them: of one invocation, and sent once more when they were given up."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from accounts import audit
from invocations import selectors
from invocations.errors import ReportNotFailed, ReportNotFound
from invocations.models import Report, ReportStatus
from nimbus_project.core import queue
from nimbus_project.core.queue import Task


def report_of(reference: str) -> Report:
    """Of an invocation by its id or request id, among those that may be seen. Raises InvocationNotFound,
    ReportNotFound."""
    row = Report.objects.filter(invocation_id=selectors.invocation_get(reference).pk).first()
    if row is None:
        raise ReportNotFound(
            "The invocation has no report: it has not ended, or its function had no destination for it."
        )
    return row


def send_again(reference: str) -> Report:
    """One that was given up, with a new set of tries. Raises as `report_of`, ReportNotFailed."""
    report = report_of(reference)
    again = {"status": ReportStatus.PENDING, "attempt": 0, "next_attempt_at": timezone.now(), "error": ""}
    with transaction.atomic():
        won = Report.objects.filter(pk=report.pk, status=ReportStatus.FAILED).update(**again)
        if not won:
            report.refresh_from_db(fields=["status"])
            raise ReportNotFailed(f"The report is {report.status}: only one that was given up can be sent again.")
        audit.record("report.retry", "invocation", report.invocation_id, report.function_name)
        queue.wake_after_commit(Task.REPORT, str(report.function_id))
    report.refresh_from_db()
    return report
