"""Webhooks: who may call a function by an address with a key in it, and what came of it."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from functions.models import Function
from nimbus_project.core.ids import new_id
from triggers.signing import Scheme


class WebhookMode(models.TextChoices):
    SYNC = "sync", "the caller gets the function's answer"
    ASYNC = "async", "accepted once it is stored"


class Webhook(models.Model):
    """The webhook of one function. Whether it is enabled, and the key's ciphertext, are on the function itself, which
    shows them."""

    function = models.OneToOneField(Function, on_delete=models.CASCADE, primary_key=True, related_name="+")
    key_sha256 = models.CharField(max_length=64, unique=True)
    """By this a call is found. 256 bits of chance need no slow hash."""
    scheme = models.CharField(max_length=32, choices=[(s.value, s.value) for s in Scheme], default=Scheme.NONE.value)
    header = models.CharField(max_length=100, blank=True)
    tolerance_sec = models.PositiveIntegerField(default=0)
    secrets_ciphertext = models.BinaryField(null=True, blank=True)
    """JSON list of the secrets that are accepted, newest first, encrypted."""
    ip_allow = models.JSONField(default=list, blank=True)
    """Networks (CIDR); empty: from everywhere."""
    rate_limit_per_min = models.PositiveIntegerField(default=0, help_text="0: no limit of its own.")
    mode = models.CharField(max_length=8, choices=WebhookMode, default=WebhookMode.SYNC)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"webhook of {self.function_id}"


class WebhookDelivery(models.Model):
    """One request to a webhook that exists. Its body is the input of the invocation that it led to, and kept nowhere
    else.

    No foreign key to the function: rows are written behind, when it may be gone.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    function_id = models.UUIDField()
    invocation_id = models.UUIDField(null=True, blank=True)
    """None: it was refused, and nothing of it is kept."""
    redelivery_of = models.UUIDField(null=True, blank=True)
    delivery_id = models.CharField(max_length=128, blank=True)
    """The sender's own."""
    http_status = models.PositiveSmallIntegerField()
    code = models.CharField(max_length=64, blank=True)
    """Why it was refused or failed."""
    request_id = models.CharField(max_length=128)
    address = models.CharField(max_length=64, blank=True)
    size_bytes = models.PositiveIntegerField(default=0)
    duration_ms = models.FloatField(default=0.0)
    received_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering: ClassVar = ["-received_at", "-id"]
        indexes: ClassVar = [models.Index(fields=["function_id", "-received_at"], name="delivery_of_function")]

    def __str__(self) -> str:
        return str(self.id)
