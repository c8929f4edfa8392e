"""Alerts: rules, whom they tell, what happened to them, and what was told."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from nimbus_project.core.ids import new_id
from triggers.alert_policy import Kind, State, Told


class AlertRule(models.Model):
    """A bound on something measured. Its state is written by alert_evaluation.py alone, by compare-and-set."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64)
    description = models.TextField(blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="alert_rules"
    )
    """None: made in embedded mode without a key."""
    role = models.CharField(max_length=16)
    """Of the key it was last changed with: it sees no more than that may, nor than its owner today."""
    kind = models.CharField(max_length=16, choices=[(k.value, k.value) for k in Kind])
    function_id = models.UUIDField(null=True, blank=True)
    """None: all functions of the owner; of an administrator, all there are."""
    function_name = models.CharField(max_length=64, blank=True)
    threshold = models.FloatField()
    window_sec = models.PositiveIntegerField()
    min_samples = models.PositiveIntegerField()
    enabled = models.BooleanField(default=True)

    state = models.CharField(max_length=16, choices=[(s.value, s.value) for s in State], default=State.OK.value)
    state_since = models.DateTimeField()
    told_firing = models.BooleanField(default=False)
    """The last that its channels heard is that it fires."""
    silenced_until = models.DateTimeField(null=True, blank=True)
    last_value = models.FloatField(null=True, blank=True)
    last_samples = models.PositiveIntegerField(default=0)
    evaluated_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["name", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["owner", "name"], name="alert_name_once"),
            models.UniqueConstraint(fields=["name"], condition=models.Q(owner=None), name="alert_name_once_of_nobody"),
        ]

    def __str__(self) -> str:
        return self.name


class AlertChannel(models.Model):
    """Whom a rule tells. Its address may be a secret (Slack's are), so all of it is encrypted."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    rule = models.ForeignKey(AlertRule, on_delete=models.CASCADE, related_name="channels")
    place = models.PositiveSmallIntegerField()
    """Among the rule's."""
    type = models.CharField(max_length=16)
    """A value of `triggers.alert_channels.ChannelType`."""
    shown = models.CharField(max_length=300)
    """What may be seen of where it leads."""
    ciphertext = models.BinaryField()
    """``{"url", "secret"*}`` or ``{"to": […]}`` as JSON text."""

    class Meta:
        ordering: ClassVar = ["place"]

    def __str__(self) -> str:
        return f"{self.type}: {self.shown}"


class AlertChange(models.Model):
    """A rule went from one state to another."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    rule_id = models.UUIDField()
    rule_name = models.CharField(max_length=64)
    state = models.CharField(max_length=16, choices=[(s.value, s.value) for s in State])
    value = models.FloatField(null=True, blank=True)
    samples = models.PositiveIntegerField(default=0)
    threshold = models.FloatField()
    reason = models.CharField(max_length=300)
    silenced = models.BooleanField(default=False)
    at = models.DateTimeField(db_index=True)

    class Meta:
        ordering: ClassVar = ["-at", "-id"]
        indexes: ClassVar = [models.Index(fields=["rule_id", "-at"], name="alert_changes_of_rule")]

    def __str__(self) -> str:
        return f"{self.rule_name} {self.state}"


class NotificationStatus(models.TextChoices):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class AlertNotification(models.Model):
    """One message to one channel. The row is the outbox: stored with the change that it tells, sent by workers, tried
    again with back-off. Without foreign keys: history outlives rules and channels."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    rule_id = models.UUIDField()
    rule_name = models.CharField(max_length=64)
    channel_id = models.UUIDField()
    channel = models.CharField(max_length=320)
    """Its type and what may be seen of it."""
    told = models.CharField(max_length=16, choices=[(t.value, t.value) for t in Told])
    message = models.TextField()
    """What is told, JSON text (alert_messages.py)."""
    status = models.CharField(max_length=16, choices=NotificationStatus, default=NotificationStatus.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(db_index=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at", "-id"]
        indexes: ClassVar = [
            models.Index(fields=["rule_id", "-created_at"], name="alert_told_by_rule"),
            models.Index(
                fields=["next_attempt_at"],
                name="alert_notification_due",
                condition=models.Q(status=NotificationStatus.PENDING.value),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rule_name} {self.told} → {self.channel}"
