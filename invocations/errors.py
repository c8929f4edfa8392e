"""What can be wrong with a request about invocations."""

from __future__ import annotations

from nimbus_project.core.errors import Conflict, NotFound


class InvocationNotFound(NotFound):
    code = "invocation_not_found"


class IdempotencyMismatch(Conflict):
    code = "idempotency_mismatch"


class NotCancellable(Conflict):
    code = "not_cancellable"
