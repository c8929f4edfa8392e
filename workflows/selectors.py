"""Reading workflows and executions: of those that the principal of this request may see. No writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q, QuerySet

from accounts import references
from accounts.visibility import owned
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.ids import as_uuid
from nimbus_project.core.pagination import Cursor, cursor_from
from workflows.errors import ExecutionNotFound, WorkflowNotFound
from workflows.models import Execution, ExecutionStatus, Step, Workflow


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionFilter:
    """What `GET /executions` can ask for. None means any."""

    workflow_id: UUID | None = None
    status: str | None = None
    cursor: Cursor | None = None
    """Rows older than this one."""

    @classmethod
    def from_query(cls, query: Mapping[str, str], workflow_id: UUID | None) -> ExecutionFilter:
        """Raises InvalidRequest. The caller resolves a workflow given by name."""
        status = query.get("status") or None
        if status is not None and status not in ExecutionStatus.values:
            message = f"Must be one of {', '.join(ExecutionStatus.values)}."
            raise InvalidRequest(f"status: {message}", details={"status": [message]})
        return cls(workflow_id=workflow_id, status=status, cursor=cursor_from(query))


def workflows() -> QuerySet[Workflow]:
    """By name."""
    return Workflow.objects.filter(owned()).order_by("name", "id")


def workflow_get(reference: str, *, for_update: bool = False) -> Workflow:
    """By id or name; of one name, the principal's own first. Raises WorkflowNotFound, AmbiguousName. `for_update` needs
    a transaction."""
    rows = workflows().select_for_update(of=("self",)) if for_update else workflows()
    return references.meant(rows.select_related("definition"), reference, "workflow", WorkflowNotFound)


def executions(wanted: ExecutionFilter) -> QuerySet[Execution]:
    """Newest first."""
    rows = Execution.objects.filter(owned()).order_by("-created_at", "-id")
    if wanted.workflow_id is not None:
        rows = rows.filter(workflow_id=wanted.workflow_id)
    if wanted.status is not None:
        rows = rows.filter(status=wanted.status)
    if wanted.cursor:
        at, row_id = wanted.cursor
        rows = rows.filter(Q(created_at__lt=at) | Q(created_at=at, id__lt=row_id))
    return rows


def execution_get(reference: str) -> Execution:
    """By id. Raises ExecutionNotFound."""
    uuid = as_uuid(reference)
    row = Execution.objects.filter(owned(), pk=uuid).first() if uuid else None
    if row is None:
        raise ExecutionNotFound("There is no execution of this id.")
    return row


def history(execution: Execution) -> QuerySet[Step]:
    """Its steps in the order they were made."""
    return Step.objects.filter(execution=execution).order_by("number")
