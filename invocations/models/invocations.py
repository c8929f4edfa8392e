"""One run of one version; what it printed; the keys that make a repeated request one run."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from invocations.outcome import Fault, StartKind, Status
from nimbus_project.core.ids import new_id


class TriggerType(models.TextChoices):
    HTTP = "http"
    ASYNC = "async"
    WEBHOOK = "webhook"
    CRON = "cron"
    EVENT = "event"
    WORKFLOW = "workflow"
    ROUTE = "route"


class Invocation(models.Model):
    """A request to run a version. Queued ones are committed before they are accepted; synchronous ones appear when
    they have ended. `status` is written by lifecycle.py alone.

    No foreign key to the function: history outlives it.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    request_id = models.CharField(max_length=128)
    function_id = models.UUIDField()
    function_name = models.CharField(max_length=64)
    runtime = models.CharField(max_length=32)
    version = models.PositiveIntegerField()
    owner_id = models.BigIntegerField(null=True, blank=True)
    """The function's owner at the time: who may read this when the function is gone."""
    caller_id = models.BigIntegerField(null=True, blank=True)
    """The user who called: an invoker reads the answers of its own calls. None: a trigger, or no key."""
    environment = models.CharField(max_length=64, blank=True)
    alias_used = models.CharField(max_length=64, blank=True)
    trigger_type = models.CharField(max_length=16, choices=TriggerType, default=TriggerType.HTTP)
    status = models.CharField(max_length=16, choices=[(s.value, s.value) for s in Status], default=Status.PENDING.value)
    # JSON text as it came and as it was made: jsonb would refuse "\\u0000" and cost a parse on the way.
    input = models.BinaryField()
    output = models.BinaryField(null=True, blank=True)
    omitted_input_bytes = models.PositiveIntegerField(null=True, blank=True)
    """The event's size, where it was too large to be kept (`kept_payload_bytes`); `input` is empty then."""
    omitted_output_bytes = models.PositiveIntegerField(null=True, blank=True)
    error = models.TextField(blank=True)
    error_type = models.CharField(max_length=128, blank=True)
    fault = models.CharField(max_length=16, blank=True, choices=[(f.value, f.value) for f in Fault])
    stack_trace = models.JSONField(default=list, blank=True)
    start_kind = models.CharField(max_length=16, blank=True, choices=[(k.value, k.value) for k in StartKind])
    session_key = models.CharField(max_length=256, blank=True)

    attempt = models.PositiveIntegerField(default=0)
    """Tries begun so far."""
    max_attempts = models.PositiveIntegerField(default=1)
    lost_attempts = models.PositiveIntegerField(default=0)
    """Tries that the platform did not bring to an end: not the function's fault."""
    workers_lost = models.PositiveIntegerField(default=0)
    """Those of them whose worker died: bounded, for it may be the event that kills."""
    attempts = models.JSONField(default=list, blank=True)
    """Tries that did not decide the end:
    ``[{attempt, status, error, error_type, worker_id, started_at, ended_at}]``."""
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    """Pending: not to be run before."""
    expires_at = models.DateTimeField(null=True, blank=True)
    """Not to be begun after: the function's max_event_age_sec."""
    hops = models.PositiveSmallIntegerField(default=0)
    """Destinations on the way here from the first event of the chain."""
    dead_letter_id = models.UUIDField(null=True, blank=True)
    """What this is a retry of."""
    worker_id = models.CharField(max_length=128, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)

    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    duration_ms = models.FloatField(null=True, blank=True)
    queue_ms = models.FloatField(null=True, blank=True)
    billed_time_ms = models.PositiveIntegerField(null=True, blank=True)
    memory_used_mb = models.FloatField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["-created_at", "-id"], name="invocation_newest"),
            models.Index(fields=["function_id", "-created_at"], name="invocation_of_function"),
            # Counted for the daily quota.
            models.Index(fields=["owner_id", "created_at"], name="invocation_of_owner"),
            # Not by `db_index`, which on PostgreSQL makes a second one for LIKE.
            models.Index(fields=["request_id"], name="invocation_of_request"),
            # What waits, function by function (backlog.py).
            models.Index(
                fields=["function_id", "next_attempt_at"],
                name="invocation_waiting",
                condition=models.Q(status=Status.PENDING.value),
            ),
            models.Index(
                fields=["lease_expires_at"], name="invocation_leased", condition=models.Q(status=Status.RUNNING.value)
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class InvocationLog(models.Model):
    """What one invocation printed, all attempts, bounded: ``[[at_ms, stream, text], …]`` as JSON text."""

    invocation_id = models.UUIDField(primary_key=True)
    function_id = models.UUIDField()
    lines = models.BinaryField()
    created_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return str(self.invocation_id)


class IdempotencyKey(models.Model):
    """`Idempotency-Key` of a caller to a function: within a day the same key and body is the same invocation."""

    function_id = models.UUIDField()
    caller_id = models.BigIntegerField(default=0)
    """The user who called; 0: none, as in embedded mode."""
    key = models.CharField(max_length=255)
    body_sha256 = models.CharField(max_length=64)
    invocation_id = models.UUIDField()
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["function_id", "caller_id", "key"], name="idempotency_key_of_caller")
        ]

    def __str__(self) -> str:
        return self.key
