"""Executions that triggers start, each in the transaction that notes why."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from accounts import standing
from nimbus_project.core.errors import Forbidden
from workflows.models import OPEN, Execution, Workflow
from workflows.services import execution_start


def start(
    workflow: Workflow, input_text: bytes, execution_id: UUID, *, trigger_type: str, request_id: str, hops: int = 0
) -> Execution:
    """With the rights that the workflow's owner has today; whether the caller may is the caller's business. Raises
    Forbidden when the owner may call functions no more, InvalidRequest."""
    if not standing.may_call(standing.principal_of(workflow.owner_id, workflow.role)):
        raise Forbidden("The owner of the workflow may not call functions any more.")
    return execution_start(
        workflow,
        input_text,
        trigger_type=trigger_type,
        request_id=request_id,
        hops=hops,
        execution_id=execution_id,
    )


def any_open(ids: Collection[UUID]) -> bool:
    """Whether one of them has not ended."""
    return Execution.objects.filter(pk__in=ids, status__in=OPEN).exists()


def statuses_of(ids: Collection[UUID]) -> dict[UUID, str]:
    """Of those that are still there. The caller sees to it that they may be seen."""
    return dict(Execution.objects.filter(pk__in=ids).values_list("pk", "status")) if ids else {}
