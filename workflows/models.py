"""Workflows, their versions, executions and their steps."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from nimbus_project.core.ids import new_id
from workflows.states import StateType


class ExecutionStatus(models.TextChoices):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class StepStatus(models.TextChoices):
    HELD = "held"
    """An item of a Map that waits until fewer of its items run."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    CAUGHT = "caught"
    """It failed, and one of its catchers took over."""
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


OPEN = (ExecutionStatus.PENDING, ExecutionStatus.RUNNING)
"""Executions that have not ended."""
UNDER_WAY = (StepStatus.HELD, StepStatus.RUNNING)
"""Steps that have not."""


class StoredDefinition(models.Model):
    """A definition by its content: what ran stays readable when its workflow is gone."""

    sha256 = models.CharField(max_length=64, primary_key=True)
    document = models.TextField()
    """JSON text in the specification's spelling: jsonb would refuse "\\u0000" and forget the order of states."""
    used_at = models.DateTimeField(default=timezone.now, db_index=True)
    """When a workflow got it last. Retention leaves what was used lately, for whoever is about to refer to it."""

    def __str__(self) -> str:
        return self.sha256


class Workflow(models.Model):
    """A named definition. Its executions act with the rights of its owner."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64)
    description = models.TextField(blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="workflows"
    )
    """None: made in embedded mode without a key."""
    role = models.CharField(max_length=16)
    """Of the key it was last changed with: it may no more than that, nor than its owner today."""
    definition = models.ForeignKey(StoredDefinition, on_delete=models.PROTECT, related_name="+")
    version = models.PositiveIntegerField(default=1)
    """Of the definition: the newest of `versions`."""
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "name"], name="workflow_name_once"),
            models.UniqueConstraint(
                fields=["name"], condition=models.Q(owner=None), name="workflow_name_once_of_nobody"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class WorkflowVersion(models.Model):
    """A definition that a workflow has or had."""

    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="versions")
    version = models.PositiveIntegerField()
    definition = models.ForeignKey(StoredDefinition, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workflow", "version"], name="workflow_version_number")
        ]

    def __str__(self) -> str:
        return f"{self.workflow_id} {self.version}"


class Execution(models.Model):
    """One run of a workflow. No foreign key to the workflow: history outlives it.

    Whoever changes it or its steps holds its row (`SELECT … FOR UPDATE`)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    workflow_id = models.UUIDField()
    workflow_name = models.CharField(max_length=64)
    workflow_version = models.PositiveIntegerField()
    definition = models.ForeignKey(StoredDefinition, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=80)
    owner_id = models.BigIntegerField(null=True, blank=True)
    role = models.CharField(max_length=16)
    """With `owner_id`, whose rights it has; the workflow's when it was started."""
    trigger_type = models.CharField(max_length=16)
    """`invocations.models.TriggerType`: who started it."""
    request_id = models.CharField(max_length=128, blank=True)
    status = models.CharField(max_length=16, choices=ExecutionStatus, default=ExecutionStatus.PENDING)
    input = models.BinaryField()
    output = models.BinaryField(null=True, blank=True)
    """Both JSON text."""
    error = models.TextField(blank=True)
    """Why it failed, in words."""
    error_code = models.CharField(max_length=256, blank=True)
    """Of which kind: a name such as ``States.Timeout``, or the function's own."""
    current_state = models.CharField(max_length=80, blank=True)
    """The one that was entered last."""
    hops = models.PositiveSmallIntegerField(default=0)
    """Triggers on the way here from the first event of a chain."""
    steps_made = models.PositiveIntegerField(default=0)
    timeout_at = models.DateTimeField(null=True, blank=True)
    """While it is open."""
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["workflow_id", "name"], name="execution_name_of_workflow")
        ]
        indexes: ClassVar = [
            models.Index(fields=["-created_at", "-id"], name="execution_newest"),
            models.Index(fields=["workflow_id", "-created_at"], name="execution_of_workflow"),
            models.Index(fields=["timeout_at"], name="execution_timeout"),
        ]

    def __str__(self) -> str:
        return self.name


class Step(models.Model):
    """One state's run: a visit of one state, with all its tries. A row of the execution's history."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    execution = models.ForeignKey(Execution, on_delete=models.CASCADE, related_name="steps")
    number = models.PositiveIntegerField()
    """In the order they were made."""
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    """The Parallel or Map that it is part of."""
    branch = models.PositiveIntegerField(default=0)
    """Of its parent: the branch's place or the item's."""
    state_name = models.CharField(max_length=80)
    state_type = models.CharField(max_length=16, choices=[(one.value, one.value) for one in StateType])
    status = models.CharField(max_length=16, choices=StepStatus, default=StepStatus.RUNNING)
    input = models.BinaryField()
    output = models.BinaryField(null=True, blank=True)
    error = models.TextField(blank=True)
    error_code = models.CharField(max_length=256, blank=True)
    retry_count = models.PositiveIntegerField(default=0)
    retries = models.JSONField(default=list, blank=True)
    """How often each of the state's retriers was used."""
    invocation_id = models.UUIDField(null=True, blank=True)
    """Of a Task's latest try."""
    is_entered = models.BooleanField(default=False)
    """Its call is made, its wait begun, its branches are there: what comes next is their end."""
    wake_at = models.DateTimeField(null=True, blank=True)
    """While it is under way: when something is to be done about it. Null: when its call or branches have ended."""
    timeout_at = models.DateTimeField(null=True, blank=True)
    """Of a Task's latest try."""
    branches_open = models.PositiveIntegerField(default=0)
    """Of a Parallel or Map: those that have not ended,"""
    branches_from = models.PositiveIntegerField(default=0)
    """and the number of the first step of its latest try's."""
    ends_branch = models.BooleanField(default=False)
    """The last of its branch, or of the execution: its output is the branch's."""
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["number"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["execution", "number"], name="step_number_of_execution")
        ]
        indexes: ClassVar = [
            models.Index(fields=["wake_at"], name="step_due"),
            # The hook of an invocation's end.
            models.Index(fields=["invocation_id"], name="step_of_invocation"),
            models.Index(fields=["parent", "status", "branch"], name="step_of_branch"),
        ]

    def __str__(self) -> str:
        return f"{self.number} {self.state_name}"


CHANGING = (
    *("status", "output", "error", "error_code", "retry_count", "retries", "invocation_id", "is_entered"),
    *("wake_at", "timeout_at", "branches_open", "branches_from", "ends_branch", "started_at", "completed_at"),
)
"""What a step is not made with for good: its input is not written again."""
