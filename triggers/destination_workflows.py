"""Workflows as destinations of functions: what `on_success` and `on_failure` with a workflow start."""

from __future__ import annotations

from uuid import UUID

from invocations.models import TriggerType
from triggers import workflow_runs
from workflows.errors import WorkflowNotFound
from workflows.selectors import workflow_get


def is_there(name: str) -> bool:
    """For the principal of this request."""
    try:
        workflow_get(name)
    except WorkflowNotFound:
        return False
    return True


def start(name: str, record: bytes, execution_id: UUID, request_id: str, hops: int) -> None:
    """In the transaction that notes it as delivered, of a workflow that the function's owner sees. Raises
    WorkflowNotFound, AmbiguousName, Forbidden, InvalidRequest."""
    workflow = workflow_get(name)
    workflow_runs.start(
        workflow, record, execution_id, trigger_type=TriggerType.ASYNC, request_id=request_id, hops=hops
    )
