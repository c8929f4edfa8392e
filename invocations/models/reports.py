"""Reports of ended runs on their way to the destinations of their functions."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from invocations.retry import GaveUp
from nimbus_project.core.ids import new_id


class ReportStatus(models.TextChoices):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Report(models.Model):
    """One run's end, for one destination. What is reported is read from the invocation when it is sent.

    Stored in the transaction that ends the run. A try holds it by pushing `next_attempt_at`: should its worker die, the
    next one comes after that.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    """Also the ``webhook-id`` and the id of the event: the same in every try."""
    invocation_id = models.UUIDField(unique=True)
    """A run ends once and is reported once."""
    function_id = models.UUIDField()
    function_name = models.CharField(max_length=64)
    owner_id = models.BigIntegerField(null=True, blank=True)
    """The function's owner: in whose name it is delivered."""
    gave_up = models.CharField(max_length=32, blank=True, choices=[(r.value, r.value) for r in GaveUp])
    """Why a run that failed was not tried again; empty for a success."""
    destination = models.JSONField()
    """As the function had it then (`functions.destinations`)."""
    hops = models.PositiveSmallIntegerField(default=0)
    """Of the run."""
    status = models.CharField(max_length=16, choices=ReportStatus, default=ReportStatus.PENDING)
    attempt = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)
    """Of the last try."""
    result_id = models.UUIDField(null=True, blank=True)
    """The invocation that it became, for a function; the execution, for a workflow."""
    delivered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-created_at", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["-created_at", "-id"], name="report_newest"),
            models.Index(fields=["function_id", "-created_at"], name="report_of_function"),
            # What waits, function by function (backlog.py).
            models.Index(
                fields=["function_id", "next_attempt_at"],
                name="report_waiting",
                condition=models.Q(status=ReportStatus.PENDING.value),
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)
