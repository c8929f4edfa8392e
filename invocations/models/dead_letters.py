"""Queued invocations that failed for good, kept to be looked at and tried again."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from invocations.models.invocations import TriggerType
from invocations.outcome import Fault
from invocations.retry import GaveUp
from nimbus_project.core.ids import new_id


class DeadLetterStatus(models.TextChoices):
    """`pending` until somebody decides."""

    PENDING = "pending"
    RETRIED = "retried"
    DISCARDED = "discarded"


class DeadLetter(models.Model):
    """One invocation given up on, with its event: it outlives the invocation, whose history may be deleted sooner.

    Stored in the transaction that ends the invocation, so that neither is there without the other.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    invocation_id = models.UUIDField(unique=True)
    request_id = models.CharField(max_length=128)
    function_id = models.UUIDField()
    function_name = models.CharField(max_length=64)
    version = models.PositiveIntegerField()
    alias_used = models.CharField(max_length=64, blank=True)
    environment = models.CharField(max_length=64, blank=True)
    owner_id = models.BigIntegerField(null=True, blank=True)
    trigger_type = models.CharField(max_length=16, choices=TriggerType)
    session_key = models.CharField(max_length=256, blank=True)
    hops = models.PositiveSmallIntegerField(default=0)
    input = models.BinaryField()
    """The event, JSON text."""

    reason = models.CharField(max_length=32, choices=[(r.value, r.value) for r in GaveUp])
    error = models.TextField(blank=True)
    error_type = models.CharField(max_length=128, blank=True)
    fault = models.CharField(max_length=16, blank=True, choices=[(f.value, f.value) for f in Fault])
    attempts = models.PositiveIntegerField()
    """Tries begun."""

    status = models.CharField(max_length=16, choices=DeadLetterStatus, default=DeadLetterStatus.PENDING)
    retry_invocation_id = models.UUIDField(null=True, blank=True)
    """The invocation that a retry has made."""
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=150, blank=True)
    """Who retried or discarded it."""
    created_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-created_at", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["-created_at", "-id"], name="dead_letter_newest"),
            models.Index(fields=["function_id", "-created_at"], name="dead_letter_of_function"),
            models.Index(fields=["status", "-created_at"], name="dead_letter_by_status"),
        ]

    def __str__(self) -> str:
        return str(self.id)
