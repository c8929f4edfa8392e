"""How long executions are kept, and the definitions that nothing has any more."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models import Exists, OuterRef, Q

from nimbus_project.core.pruning import Prunable
from workflows.models import OPEN, Execution, Step, StoredDefinition, Workflow, WorkflowVersion


def _ended(before: datetime) -> Q:
    """Not open, and not for so long: one that took weeks has its days from its end on."""
    return ~Q(status__in=OPEN) & Q(completed_at__lt=before)


def _delete(before: datetime, limit: int) -> int:
    """The oldest ones that have together about so many rows, with their steps: one alone may have thousands."""
    heads = list(EXECUTIONS.old(before).order_by("created_at").values_list("pk", "steps_made")[:limit])
    if not heads:
        return 0
    keys: list[UUID] = []
    rows = 0
    for pk, steps in heads:
        rows += 1 + steps
        if keys and rows > limit:
            break
        keys.append(pk)
    while _delete_steps(keys, limit):
        pass
    return Execution.objects.filter(pk__in=keys).delete()[1].get(Execution._meta.label, 0)


def _delete_steps(executions: list[UUID], limit: int) -> int:
    """The latest first: those of a branch are younger than what they are part of."""
    steps = Step.objects.filter(execution_id__in=executions).order_by("-number").values_list("pk", flat=True)
    keys = list(steps[:limit])
    return Step.objects.filter(pk__in=keys).delete()[0] if keys else 0


def _unused(_: datetime) -> Q:
    here = OuterRef("pk")
    users = (Workflow.objects, WorkflowVersion.objects, Execution.objects)
    return Q(*(~Exists(rows.filter(definition=here)) for rows in users))


EXECUTIONS = Prunable(
    name="executions",
    keep_days=lambda config: config.retention_executions_days,
    rows=Execution.objects.all,
    age="created_at",
    may_go=_ended,
    delete_rows=_delete,
)
DEFINITIONS = Prunable(
    name="workflow_definitions",
    keep_days=lambda config: config.retention_executions_days,
    rows=StoredDefinition.objects.all,
    age="used_at",
    may_go=_unused,
    # Whoever is about to use one has said so before (`used_at`), and is not done yet.
    least_days=1,
)
