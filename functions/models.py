"""Functions, their immutable versions, their source."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models

from functions import cron
from functions.runtimes import RUNTIMES
from nimbus_project.core.ids import new_id
from nimbus_project.core.json_numbers import JsonNumbers


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


class HttpAuth(models.TextChoices):
    """Who may call a custom route."""

    NONE = "none", "everybody"
    KEY = "key", "whoever may invoke the function"


class PackageKind(models.TextChoices):
    SOURCE = "source"
    ARCHIVE = "archive"
    BINARY = "binary"


class Package(models.Model):
    """Uploaded source by its sha256: stored once however many versions use it."""

    sha256 = models.CharField(primary_key=True, max_length=64)
    kind = models.CharField(max_length=8, choices=PackageKind, default=PackageKind.SOURCE)
    data = models.BinaryField()
    """The bytes of a source; an archive or binary is in Django's storage, under `stored_as`."""
    stored_as = models.CharField(max_length=200, blank=True)
    size_bytes = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.sha256[:12]


class Artifact(models.Model):
    """What the builder made of a package: content-addressed by everything that went into it."""

    key = models.CharField(primary_key=True, max_length=64)
    """sha256 over package, runtime, toolchain and dependency lists."""
    sha256 = models.CharField(max_length=64)
    """Of the bytes."""
    kind = models.CharField(max_length=8)
    """A value of `functions.spec.ArtifactKind`."""
    size_bytes = models.PositiveIntegerField()
    stored_as = models.CharField(max_length=200)
    """Name in Django's storage."""
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.key[:12]


class Function(models.Model):
    """The named thing. What it runs is in its versions; what is here changes without making one."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64, unique=True)
    description = models.TextField(blank=True)
    runtime = models.CharField(max_length=32, choices=[(r.name, r.title) for r in RUNTIMES.values()])
    status = models.CharField(max_length=16, choices=FunctionStatus, default=FunctionStatus.CREATING)
    status_message = models.TextField(blank=True)
    pinned = models.BooleanField(default=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="functions"
    )
    """None: made in embedded mode without a key; shared like `shared` ones."""
    shared = models.BooleanField(default=False, help_text="Every developer sees and changes it.")
    last_number = models.PositiveIntegerField(default=0)
    """The last version number given out; the counter is locked with the row (services.py)."""
    latest_version = models.PositiveIntegerField(default=0)
    """Number of the newest version that can run; 0 while the first is being built."""
    generation = models.PositiveIntegerField(default=0)
    """Goes up with each change of secrets and environments, which are no part of a version."""
    max_concurrency = models.PositiveIntegerField(default=0, help_text="Runs at once over all workers; 0: no limit.")
    max_retries = models.PositiveSmallIntegerField(default=2, help_text="More tries of a failed async invocation.")
    max_event_age_sec = models.PositiveIntegerField(default=21600, help_text="An async event older is given up.")
    on_success = models.JSONField(default=dict, blank=True)
    """Where an async run that succeeded is reported (destinations.py); empty: nowhere."""
    on_failure = models.JSONField(default=dict, blank=True)
    """The same for one that failed for good."""
    http_path = models.CharField(max_length=512, blank=True)
    """Its custom route; which addresses are whose is in FunctionRoute."""
    http_methods = models.JSONField(default=list, blank=True)
    http_auth = models.CharField(max_length=8, choices=HttpAuth, default=HttpAuth.NONE)
    cors = models.JSONField(default=dict, blank=True)
    """``{allow_origins, allow_methods, allow_headers, allow_credentials, max_age}``; empty: none."""
    webhook_enabled = models.BooleanField(default=False)
    webhook_ciphertext = models.BinaryField(null=True, blank=True)
    """The key of its webhook, so that its owner can be shown the address (triggers/webhooks.py)."""
    cron_expression = models.CharField(max_length=255, blank=True, validators=[cron.check_expression])
    """When it runs by itself (empty: not): 5 fields, or 6 with seconds first."""
    cron_timezone = models.CharField(max_length=64, default="UTC", validators=[cron.check_timezone])
    last_deployed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["-pinned", "-created_at"]
        indexes: ClassVar = [
            models.Index(fields=["-pinned", "-created_at"], name="function_listing"),
            models.Index(fields=["status"], name="function_status"),
            # Looked through every second.
            models.Index(fields=["id"], name="function_cron", condition=~models.Q(cron_expression="")),
        ]

    def __str__(self) -> str:
        return self.name


class FunctionRoute(models.Model):
    """One address and method that calls one function."""

    function = models.ForeignKey(Function, on_delete=models.CASCADE, related_name="routes")
    pattern = models.CharField(max_length=512)
    """Canonical (`functions.route_patterns.Pattern.canonical`): the names of parameters do not count."""
    method = models.CharField(max_length=8)

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["pattern", "method"], name="route_once")]

    def __str__(self) -> str:
        return f"{self.method} {self.pattern}"


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
    language = models.CharField(max_length=16, blank=True)
    """What a compiled runtime was written in: go, rust, c."""
    package = models.ForeignKey(Package, on_delete=models.PROTECT, related_name="versions")
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, null=True, blank=True, related_name="versions")
    """None: the source runs as it is, or the build has not ended."""
    dependencies = models.ForeignKey(
        Artifact, on_delete=models.PROTECT, null=True, blank=True, related_name="dependent_versions"
    )
    """What a project's lists ask for, resolved: an artifact of its own, shared by all that ask for the same. None: it
    asks for nothing, or the build has not ended."""
    is_ready = models.BooleanField(default=False)
    """It can run: nothing to build, or built."""
    layers = models.JSONField(default=list, blank=True)
    """Ids of layer versions, in order."""
    memory_mb = models.PositiveIntegerField(default=256)
    timeout_sec = models.PositiveIntegerField(default=30)
    env_vars = models.JSONField(default=dict, blank=True)
    network = models.CharField(max_length=8, choices=Network, default=Network.NONE)
    input_schema = models.JSONField(default=dict, blank=True, decoder=JsonNumbers)
    """JSON Schema of the events it takes; empty: any."""
    description = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering: ClassVar = ["-version"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["function", "version"], name="version_once")]

    def __str__(self) -> str:
        return f"{self.function_id} v{self.version}"


class BuildStatus(models.TextChoices):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class BuildTask(models.Model):
    """One build of one version. The row is the outbox, as an invocation's is."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    function = models.ForeignKey(Function, on_delete=models.CASCADE, related_name="builds")
    version = models.PositiveIntegerField()
    type = models.CharField(max_length=16, default="build")
    status = models.CharField(max_length=16, choices=BuildStatus, default=BuildStatus.PENDING)
    output = models.TextField(blank=True)
    """The compiler's log, as it comes."""
    error = models.TextField(blank=True)
    attempt = models.PositiveIntegerField(default=0)
    worker_id = models.CharField(max_length=128, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]

    def __str__(self) -> str:
        return str(self.id)


class Layer(models.Model):
    """Shared dependencies, versioned."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64, unique=True)
    description = models.TextField(blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="layers"
    )
    shared = models.BooleanField(default=False, help_text="Every developer sees and uses it.")
    compatible_runtimes = models.JSONField(default=list)
    last_number = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.name


class LayerVersion(models.Model):
    """One immutable zip of a layer."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    layer = models.ForeignKey(Layer, on_delete=models.CASCADE, related_name="versions")
    version = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64)
    size_bytes = models.PositiveIntegerField()
    stored_as = models.CharField(max_length=200)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-version"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["layer", "version"], name="layer_version_once")]

    def __str__(self) -> str:
        return f"{self.layer} v{self.version}"


class Alias(models.Model):
    """A movable name that may split traffic."""

    function = models.ForeignKey(Function, on_delete=models.CASCADE, related_name="aliases")
    name = models.CharField(max_length=64)
    description = models.TextField(blank=True)
    weights = models.JSONField(default=list)
    """``[{"version": n, "weight": 0–100}]``, summing to 100."""
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["function", "name"], name="alias_once")]

    def __str__(self) -> str:
        return self.name


class RolloutStatus(models.TextChoices):
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    RETURNED = "returned"
    ABORTED = "aborted"


class Rollout(models.Model):
    """A stepwise shift of an alias's traffic to a version, with its way back."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    alias = models.ForeignKey(Alias, on_delete=models.CASCADE, related_name="rollouts")
    version = models.PositiveIntegerField()
    weights_before = models.JSONField(default=list)
    steps = models.JSONField(default=list)
    """Percentages, ascending, the last 100."""
    step = models.PositiveSmallIntegerField(default=0)
    """Index of the step in force."""
    interval_sec = models.PositiveIntegerField()
    max_error_rate = models.FloatField(null=True, blank=True)
    """0–1."""
    max_p95_ms = models.FloatField(null=True, blank=True)
    min_samples = models.PositiveIntegerField(default=20)
    status = models.CharField(max_length=16, choices=RolloutStatus, default=RolloutStatus.RUNNING)
    reason = models.TextField(blank=True)
    history = models.JSONField(default=list)
    """``[{at, step, percent, action, reason, measured}]``"""
    step_began_at = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["-created_at"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["alias"], condition=models.Q(status__in=["running", "paused"]), name="one_rollout_of_an_alias"
            )
        ]

    def __str__(self) -> str:
        return f"{self.alias} → v{self.version}"


class Secret(models.Model):
    """An environment variable that is never shown: encrypted at rest."""

    function = models.ForeignKey(Function, on_delete=models.CASCADE, related_name="secrets")
    name = models.CharField(max_length=128)
    ciphertext = models.BinaryField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["function", "name"], name="secret_once")]

    def __str__(self) -> str:
        return self.name


class Environment(models.Model):
    """A named set of overrides: dev, staging, prod."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64, unique=True)
    description = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return self.name


class FunctionEnvironment(models.Model):
    """What one environment changes for one function. Null or empty: as the version has it."""

    function = models.ForeignKey(Function, on_delete=models.CASCADE, related_name="environments")
    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="functions")
    env_vars = models.JSONField(default=dict, blank=True)
    memory_mb = models.PositiveIntegerField(null=True, blank=True)
    timeout_sec = models.PositiveIntegerField(null=True, blank=True)
    active_alias = models.CharField(max_length=64, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["function", "environment"], name="function_environment_once")
        ]

    def __str__(self) -> str:
        return f"{self.function} in {self.environment}"
