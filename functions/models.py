"""Functions, their immutable versions, their source."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from functions.runtimes import RUNTIMES
from nimbus_project.core.ids import new_id


class FunctionStatus(models.TextChoices):
    CREATING = "creating"
    ACTIVE = "active"
    UPDATING = "updating"
    OFFLINE = "offline"
    FAILED = "failed"


INVOKABLE = frozenset({FunctionStatus.ACTIVE, FunctionStatus.UPDATING})


class Network(models.TextChoices):
    NONE = "none"
    EGRESS = "egress"


class Package(models.Model):
    """Uploaded source by its sha256: stored once however many versions use it."""

    sha256 = models.CharField(primary_key=True, max_length=64)
    data = models.BinaryField()
    size_bytes = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.sha256[:12]


class Function(models.Model):
    """The named thing. What it runs is in its versions; what is here changes without making one."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64, unique=True)
    description = models.TextField(blank=True)
    runtime = models.CharField(max_length=32, choices=[(r.name, r.title) for r in RUNTIMES.values()])
    status = models.CharField(max_length=16, choices=FunctionStatus, default=FunctionStatus.CREATING)
    status_message = models.TextField(blank=True)
    pinned = models.BooleanField(default=False)
    latest_version = models.PositiveIntegerField(default=0)
    """Number of the newest version; the counter is locked with the row (services.py)."""
    max_concurrency = models.PositiveIntegerField(default=0, help_text="Runs at once over all workers; 0: no limit.")
    max_retries = models.PositiveSmallIntegerField(default=2, help_text="More tries of a failed async invocation.")
    max_event_age_sec = models.PositiveIntegerField(default=21600, help_text="An async event older is given up.")
    last_deployed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["-pinned", "-created_at"]
        indexes: ClassVar = [
            models.Index(fields=["-pinned", "-created_at"], name="function_listing"),
            models.Index(fields=["status"], name="function_status"),
        ]

    def __str__(self) -> str:
        return self.name


class FunctionTag(models.Model):
    """One tag of one function: rows, so that "has all of these" is a query on every database."""

    function = models.ForeignKey(Function, on_delete=models.CASCADE, related_name="tag_rows")
    name = models.CharField(max_length=64, db_index=True)

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["function", "name"], name="function_tag_once")]

    def __str__(self) -> str:
        return self.name


class FunctionVersion(models.Model):
    """An immutable snapshot of code and configuration."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    function = models.ForeignKey(Function, on_delete=models.CASCADE, related_name="versions")
    version = models.PositiveIntegerField()
    handler = models.CharField(max_length=256)
    package = models.ForeignKey(Package, on_delete=models.PROTECT, related_name="versions")
    memory_mb = models.PositiveIntegerField(default=256)
    timeout_sec = models.PositiveIntegerField(default=30)
    env_vars = models.JSONField(default=dict, blank=True)
    network = models.CharField(max_length=8, choices=Network, default=Network.NONE)
    description = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering: ClassVar = ["-version"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["function", "version"], name="version_once")]

    def __str__(self) -> str:
        return f"{self.function_id} v{self.version}"
