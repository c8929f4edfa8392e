"""Reading workflows and executions: of those that the principal of this request may see. No writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Length

from accounts import references
from accounts.visibility import owned
from invocations.selectors import LISTED_BYTES
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.ids import as_uuid
from nimbus_project.core.pagination import Cursor, cursor_from
from workflows.errors import ExecutionNotFound, StepNotFound, WorkflowNotFound, WorkflowVersionNotFound
from workflows.models import Execution, ExecutionStatus, Step, Workflow, WorkflowVersion

MAX_NAME = 64
MAX_NUMBER = 2**31 - 1
"""What a database takes for one; no step or version has a higher one."""

Row = TypeVar("Row", Execution, Step)


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
            raise _invalid("status", f"Must be one of {', '.join(ExecutionStatus.values)}.")
        return cls(workflow_id=workflow_id, status=status, cursor=cursor_from(query))


def workflows(part_of_name: str = "") -> QuerySet[Workflow]:
    """By name. Raises InvalidRequest for what can't be part of one."""
    rows = Workflow.objects.filter(owned()).order_by("name", "id")
    if not part_of_name:
        return rows
    if "\0" in part_of_name or len(part_of_name) > MAX_NAME:
        raise _invalid("name", f"Must have at most {MAX_NAME} characters, none of them NUL.")
    return rows.filter(name__icontains=part_of_name)


def workflow_get(reference: str, *, for_update: bool = False) -> Workflow:
    """By id or name; of one name, the principal's own first. Raises WorkflowNotFound, AmbiguousName. `for_update` needs
    a transaction."""
    # Locked without its definition: a row that was changed while this waited for it has another one by then, and
    # PostgreSQL, which looks at the locked row again but not at what it was joined with, would find none.
    rows = workflows().select_for_update() if for_update else workflows().select_related("definition")
    return references.meant(rows, reference, "workflow", WorkflowNotFound)


def workflow_id_of(reference: str) -> UUID:
    """The id that a filter's `workflow` means: an id is taken as it is, for workflows that are gone have history too; a
    name is looked up. Raises WorkflowNotFound, AmbiguousName."""
    return as_uuid(reference) or workflow_get(reference).pk


def versions_of(workflow: Workflow) -> QuerySet[WorkflowVersion]:
    """Newest first."""
    return WorkflowVersion.objects.filter(workflow=workflow).order_by("-version")


def version_get(workflow: Workflow, number: int) -> WorkflowVersion:
    """Raises WorkflowVersionNotFound."""
    rows = versions_of(workflow).select_related("definition")
    row = rows.filter(version=number).first() if number <= MAX_NUMBER else None
    if row is None:
        raise WorkflowVersionNotFound(f"The workflow {workflow.name} has no version of this number.")
    return row


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
    return Step.objects.filter(execution=execution).annotate(parent_number=F("parent__number")).order_by("number")


def step_get(execution: Execution, number: int) -> Step:
    """Raises StepNotFound."""
    row = history(execution).filter(number=number).first() if number <= MAX_NUMBER else None
    if row is None:
        raise StepNotFound("The execution has no step of this number.")
    return row


def listed(rows: QuerySet[Row]) -> QuerySet[Row]:
    """For a list: inputs and outputs read only when small (`listed_input`, `listed_output`)."""
    sized = rows.defer("input", "output").annotate(input_bytes=Length("input"), output_bytes=Length("output"))
    return sized.annotate(
        listed_input=Case(When(input_bytes__lte=LISTED_BYTES, then="input"), default=Value(None)),
        listed_output=Case(When(output_bytes__lte=LISTED_BYTES, then="output"), default=Value(None)),
    )


def _invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", details={field: [message]})
