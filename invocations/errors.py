"""What can be wrong with a request about invocations."""

from __future__ import annotations

from nimbus_project.core.errors import Conflict, NotFound


class InvocationNotFound(NotFound):
    code = "invocation_not_found"


class IdempotencyMismatch(Conflict):
    code = "idempotency_mismatch"


class NotCancellable(Conflict):
    code = "not_cancellable"


class EventNotKept(Conflict):
    code = "event_not_kept"


class DeadLetterNotFound(NotFound):
    code = "dead_letter_not_found"


class DeadLetterResolved(Conflict):
    code = "dead_letter_resolved"


class ReportNotFound(NotFound):
    code = "report_not_found"


class ReportNotFailed(Conflict):
    code = "report_not_failed"
