"""Who may do what: members with a role, their API keys, and the log of what they did."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from nimbus_project.core.ids import new_id
from nimbus_project.core.json_numbers import JsonNumbers


class Role(models.TextChoices):
    """From all to least. `developer`: everything but users, keys of others and settings; `viewer`: read only;
    `invoker`: invoke only."""

    ADMIN = "admin"
    DEVELOPER = "developer"
    VIEWER = "viewer"
    INVOKER = "invoker"


class Member(models.Model):
    """The role of one of Django's users."""

    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="member")
    role = models.CharField(max_length=16, choices=Role, default=Role.DEVELOPER)

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


class ApiKey(models.Model):
    """A key like ``nmb_<prefix>_<secret>``: shown once, stored hashed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=64)
    prefix = models.CharField(max_length=16, unique=True)
    secret_sha256 = models.CharField(max_length=64)
    """The secret has 256 bits of chance: a slow hash would add nothing but time to each call."""
    role = models.CharField(max_length=16, choices=Role)
    """What the key may do; never more than its owner."""
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} (nmb_{self.prefix}…)"


class Quota(models.Model):
    """Limits of one owner; the row without an owner is everybody's default. 0: no limit."""

    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="quota"
    )
    max_functions = models.PositiveIntegerField(default=0)
    max_memory_mb = models.PositiveIntegerField(default=0, help_text="Sum over all functions.")
    max_invocations_per_day = models.PositiveIntegerField(default=0)
    max_code_size_kb = models.PositiveIntegerField(default=0, help_text="Sum over all functions.")

    def __str__(self) -> str:
        return f"quota of {self.owner or 'everybody'}"


class AuditEntry(models.Model):
    """Who changed what, when, from where. Only ever added to."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    at = models.DateTimeField(auto_now_add=True, db_index=True)
    actor = models.CharField(max_length=150, blank=True)
    """User name; empty in embedded mode without a key."""
    key_prefix = models.CharField(max_length=16, blank=True)
    address = models.CharField(max_length=64, blank=True)
    request_id = models.CharField(max_length=128, blank=True)
    action = models.CharField(max_length=64, db_index=True)
    """``function.update``"""
    object_type = models.CharField(max_length=32)
    object_id = models.CharField(max_length=64, db_index=True)
    object_name = models.CharField(max_length=128, blank=True)
    before = models.JSONField(null=True, blank=True, decoder=JsonNumbers)
    after = models.JSONField(null=True, blank=True, decoder=JsonNumbers)

    class Meta:
        ordering: ClassVar = ["-at", "-id"]

    def __str__(self) -> str:
        return f"{self.at:%F %T} {self.actor} {self.action} {self.object_name}"
