"""Schedules: what runs when the clock says so, and what came of each fire time."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from functions.models import Function
from nimbus_project.core.ids import new_id
from workflows.models import Workflow


class CatchUp(models.TextChoices):
    """What becomes of fire times that nothing ticked for."""

    SKIP = "skip"
    CATCH_UP_ONE = "catch_up_one"


class Overlap(models.TextChoices):
    """What a tick does while the run of an earlier one has not ended."""

    ALLOW = "allow"
    SKIP = "skip"


class Schedule(models.Model):
    """A cron expression in a time zone, and the function or the workflow that it runs. Seen and changed by whoever sees
    and changes that; its runs have the rights of that one's owner."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64)
    """Unique among the function's, or the workflow's."""
    description = models.TextField(blank=True)
    function = models.ForeignKey(Function, on_delete=models.CASCADE, null=True, blank=True, related_name="schedules")
    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, null=True, blank=True, related_name="schedules")
    """One of the two."""
    is_own = models.BooleanField(default=False)
    """It stands for the function's own `cron_expression`, and follows it."""
    cron_expression = models.CharField(max_length=255)
    cron_timezone = models.CharField(max_length=64, default="UTC")
    payload = models.BinaryField(null=True, blank=True)
    """JSON text, as an invocation's input; None: none was given."""
    alias = models.CharField(max_length=64, blank=True)
    version = models.PositiveIntegerField(null=True, blank=True)
    """Neither alias nor version: the newest. A workflow has neither."""
    catch_up_policy = models.CharField(max_length=16, choices=CatchUp, default=CatchUp.SKIP)
    overlap_policy = models.CharField(max_length=16, choices=Overlap, default=Overlap.ALLOW)
    enabled = models.BooleanField(default=True)
    next_fire_at = models.DateTimeField(null=True, blank=True)
    """None while it is paused, or when it never fires again."""
    last_fire_at = models.DateTimeField(null=True, blank=True)
    """The latest fire time that was dealt with."""
    created_by = models.CharField(max_length=150, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["-created_at", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["function", "name"], name="schedule_name_once"),
            models.UniqueConstraint(fields=["workflow", "name"], name="schedule_name_once_of_workflow"),
            models.CheckConstraint(
                condition=models.Q(function=None) ^ models.Q(workflow=None), name="schedule_runs_one_thing"
            ),
            models.UniqueConstraint(
                fields=["function"], condition=models.Q(is_own=True), name="one_own_schedule_of_a_function"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["next_fire_at"], name="schedule_due", condition=models.Q(enabled=True)),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def target(self) -> Function | Workflow:
        """What it runs."""
        target = self.function or self.workflow
        assert target is not None, "the table has a constraint"
        return target


class FireStatus(models.TextChoices):
    FIRED = "fired"
    SKIPPED = "skipped"
    """The run of an earlier one had not ended."""
    MISSED = "missed"
    """Nothing ticked in time."""
    REFUSED = "refused"
    """The function could not be called: offline, over quota, its alias gone. The workflow could not be started: its
    owner may call nothing any more."""


class ScheduleFire(models.Model):
    """What came of one fire time: a row per (schedule, fire time), stored in one transaction with the invocation or the
    execution. It is what makes a tick fire once however many look at it.

    No foreign key: a schedule may have millions, and is deleted in the time of a request. Retention takes them.
    """

    schedule_id = models.UUIDField()
    function_id = models.UUIDField(null=True, blank=True)
    workflow_id = models.UUIDField(null=True, blank=True)
    fire_time = models.DateTimeField()
    """When it was due; for a run by request, when that came."""
    by_request = models.BooleanField(default=False)
    is_catch_up = models.BooleanField(default=False)
    status = models.CharField(max_length=16, choices=FireStatus)
    reason = models.CharField(max_length=500, blank=True)
    missed = models.PositiveIntegerField(default=0)
    """Of a missed one: how many fire times it stands for, from its own on."""
    invocation_id = models.UUIDField(null=True, blank=True)
    execution_id = models.UUIDField(null=True, blank=True)
    """Of a fired one, one of the two."""
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering: ClassVar = ["-fire_time", "-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["schedule_id", "fire_time"], condition=models.Q(by_request=False), name="fire_once"
            )
        ]
        indexes: ClassVar = [models.Index(fields=["schedule_id", "-fire_time"], name="fires_of_schedule")]

    def __str__(self) -> str:
        return f"{self.schedule_id} {self.fire_time:%F %T} {self.status}"
