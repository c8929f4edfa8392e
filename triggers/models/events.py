"""The event bus: events as they were accepted, rules, what was delivered to whom, replays."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.conf import settings
from django.db import models

from nimbus_project.core.ids import new_id

LIVE = UUID(int=0)
"""The `replay_id` of deliveries that no replay has made."""
TYPE_HEAD = 255


class Event(models.Model):
    """A CloudEvent, kept as it was accepted. The row is the outbox: committed before the 202, and fanned out to rules
    by workers afterwards.

    An event belongs to whoever published it; one of the platform's to the owner of the function that it is about.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    identity = models.CharField(max_length=64, unique=True)
    """sha256 of whose it is, its source and its id: the same one is accepted once."""
    owner_id = models.BigIntegerField(null=True, blank=True)
    """None: nobody's (embedded mode), for everybody to see."""
    shared = models.BooleanField(default=False)
    """About a shared function: for everybody to see."""
    event_id = models.TextField()
    source = models.TextField()
    type = models.TextField()
    type_head = models.CharField(max_length=TYPE_HEAD)
    """The beginning of the type, for an index: a type may be longer than an index entry."""
    subject = models.TextField(blank=True)
    body = models.BinaryField()
    """The event in CloudEvents' JSON form."""
    hops = models.PositiveSmallIntegerField(default=0)
    """Triggers on the way here from the first event of a chain."""
    request_id = models.CharField(max_length=128, blank=True)
    accepted_at = models.DateTimeField()

    fanned_out_at = models.DateTimeField(null=True, blank=True)
    """When its rules were looked up and their deliveries stored; null while that waits."""
    due_at = models.DateTimeField()
    """While it waits: not before. A worker that takes it up moves this on, so that no other does meanwhile."""
    tries = models.PositiveSmallIntegerField(default=0)
    """Workers that took it up."""
    error = models.TextField(blank=True)
    """Why it was not fanned out, or not to all rules."""

    class Meta:
        ordering: ClassVar = ["-accepted_at", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["-accepted_at", "-id"], name="event_newest"),
            models.Index(fields=["owner_id", "-accepted_at"], name="event_of_owner"),
            models.Index(fields=["type_head", "-accepted_at"], name="event_of_type"),
            models.Index(fields=["due_at"], name="event_waiting", condition=models.Q(fanned_out_at=None)),
        ]

    def __str__(self) -> str:
        return f"{self.type[:100]} {self.event_id[:100]}"


class EventRule(models.Model):
    """Which events call which functions and start which workflows. It acts with the rights of its owner."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64)
    description = models.TextField(blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="event_rules"
    )
    """None: made in embedded mode without a key."""
    role = models.CharField(max_length=16)
    """Of the key it was last changed with: the rule may no more than that, nor than its owner today."""
    pattern = models.TextField()
    """JSON text: jsonb would refuse "\\u0000"."""
    targets = models.TextField()
    """JSON text: ``[{"function_id", "function", "alias"*, "input_template"*}]``, or ``"workflow_id", "workflow"``."""
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["name", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "name"], name="event_rule_name_once"),
            models.UniqueConstraint(
                fields=["name"], condition=models.Q(owner=None), name="event_rule_name_once_of_nobody"
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["owner"], name="event_rule_enabled", condition=models.Q(enabled=True))
        ]

    def __str__(self) -> str:
        return self.name


class DeliveryStatus(models.TextChoices):
    PENDING = "pending"
    """The function could not be called yet; tried again."""
    DELIVERED = "delivered"
    """An invocation was stored, with retries and a dead letter of its own; or an execution."""
    FAILED = "failed"


class EventDelivery(models.Model):
    """An event that a rule matched, for one of its targets: a row that there can be one of, stored in one transaction
    with the invocation or the execution.

    No foreign keys: history outlives rules, functions and workflows, and retention takes both tables in its own time.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    event_id = models.UUIDField()
    """Of the row, not of the CloudEvent."""
    rule_id = models.UUIDField()
    rule_name = models.CharField(max_length=64)
    owner_id = models.BigIntegerField(null=True, blank=True)
    """The rule's: who may read this."""
    target = models.PositiveSmallIntegerField()
    """Its place among the rule's."""
    replay_id = models.UUIDField(default=LIVE)
    function_id = models.UUIDField(null=True, blank=True)
    function_name = models.CharField(max_length=64, blank=True)
    workflow_id = models.UUIDField(null=True, blank=True)
    workflow_name = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=16, choices=DeliveryStatus)
    invocation_id = models.UUIDField(null=True, blank=True)
    execution_id = models.UUIDField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(db_index=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["created_at", "id"]
        verbose_name_plural = "event deliveries"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["event_id", "rule_id", "target", "replay_id"], name="event_delivery_once")
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["next_attempt_at"],
                name="event_delivery_waiting",
                condition=models.Q(status=DeliveryStatus.PENDING.value),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rule_name} → {self.function_name or self.workflow_name}"


class ReplayStatus(models.TextChoices):
    RUNNING = "running"
    COMPLETED = "completed"


class EventReplay(models.Model):
    """Events of a range of time, held against rules once more. Acts with the rights of who asked for it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner_id = models.BigIntegerField(null=True, blank=True)
    """Who asked."""
    role = models.CharField(max_length=16)
    """Of the key it was asked with."""
    rule_id = models.UUIDField(null=True, blank=True)
    """None: all rules that its owner sees."""
    rule_name = models.CharField(max_length=64, blank=True)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    """Not included."""
    status = models.CharField(max_length=16, choices=ReplayStatus, default=ReplayStatus.RUNNING)
    cursor_at = models.DateTimeField()
    cursor_id = models.UUIDField(default=LIVE)
    """The last event that was dealt with."""
    events = models.PositiveIntegerField(default=0)
    """Dealt with so far."""
    deliveries = models.PositiveIntegerField(default=0)
    """Made of them."""
    due_at = models.DateTimeField()
    """While it runs: taken up by nobody else before."""
    created_at = models.DateTimeField(db_index=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at", "-id"]
        indexes: ClassVar = [
            models.Index(
                fields=["due_at"], name="event_replay_running", condition=models.Q(status=ReplayStatus.RUNNING.value)
            )
        ]

    def __str__(self) -> str:
        return str(self.id)
