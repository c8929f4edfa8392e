"""Builds: from an uploaded package to something a sandbox can run. The control plane's half; the work itself is done by
`workers/builder.py`.

    prepare ──> (nothing to build) ──────────────────────────> live
       └──> BuildTask pending ──claim──> running ──finish──> succeeded: live | failed
                        ^                   └── lease expired ──┘ (again)

Moves of a BuildTask are compare-and-sets, as an invocation's are.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from uuid import UUID

import orjson
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from functions import artifacts, directory, packages, programs
from functions.dependencies import Dependencies, dependencies_of
from functions.models import (
    Artifact,
    BuildStatus,
    BuildTask,
    Function,
    FunctionStatus,
    FunctionVersion,
    Package,
    PackageKind,
)
from functions.spec import ArtifactKind
from nimbus_project.core import queue, redis
from nimbus_project.core.errors import Conflict
from nimbus_project.core.queue import Task

MAX_ATTEMPTS = 3
"""Builds that may end with their worker before the version is given up."""
MAX_OUTPUT = 256 * 1024
RECOMPILE = "recompile"
"""Type of a BuildTask whose result takes the place of an earlier one."""

_COMPILED = frozenset({"go1.24", "wasm"})


def prepare(function: Function, version: FunctionVersion) -> BuildTask | None:
    """Make a new version live, or start what has to be done before. In the transaction that made it."""
    package = Package.objects.get(pk=version.package_id)
    if package.kind == PackageKind.SOURCE and function.runtime not in _COMPILED:
        go_live(function, version)
        return None
    artifacts.hold_files()
    version.artifact = _known(artifact_key(function.runtime, version)) or _without_building(function, version, package)
    wanted = dependencies_wanted(version)
    version.dependencies = _known(wanted.key) if wanted else None
    if version.artifact is not None and (wanted is None or version.dependencies is not None):
        go_live(function, version)
        return None
    version.save(update_fields=["artifact", "dependencies"])
    return _start(function, version, "build")


def prepare_again(function: Function, version: FunctionVersion) -> BuildTask:
    """Build anew what was built before, with the toolchain of now. Raises Conflict where nothing is built."""
    package = Package.objects.get(pk=version.package_id)
    is_compiled = function.runtime in _COMPILED and not (
        package.kind == PackageKind.BINARY and function.runtime == "go1.24"
    )
    if not is_compiled and dependencies_wanted(version) is None:
        raise Conflict("Nothing of this function is compiled or fetched: it runs from what was uploaded.")
    return _start(function, version, RECOMPILE)


def _start(function: Function, version: FunctionVersion, kind: str) -> BuildTask:
    now = timezone.now()
    task = BuildTask.objects.create(function=function, version=version.version, type=kind, sent_at=now)
    if function.status != FunctionStatus.OFFLINE:
        function.status = FunctionStatus.UPDATING if function.latest_version else FunctionStatus.CREATING
    function.status_message = f"Version {version.version} is being built."
    function.save(update_fields=["status", "status_message", "updated_at"])
    queue.send_after_commit(Task.BUILD, str(task.pk))
    return task


def dependencies_wanted(version: FunctionVersion) -> Dependencies | None:
    """What a builder has to resolve for an archive of interpreted source; None when that is nothing. Raises
    InvalidRequest for lists that can't be used."""
    package = version.package
    if package.kind != PackageKind.ARCHIVE or version.function.runtime in _COMPILED:
        return None
    return dependencies_of(version.function.runtime, artifacts.files_of_zip(packages.content(package)))


def _known(key: str) -> Artifact | None:
    return Artifact.objects.filter(pk=key).first()


def artifact_key(runtime: str, version: FunctionVersion) -> str:
    """sha256 over everything that decides what a build makes. The toolchain is pinned with the runtime's name and
    Nimbus's own builder, whose changes count up the last part."""
    parts = (runtime, version.language, version.package_id, version.handler if runtime in _COMPILED else "", "1")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _without_building(function: Function, version: FunctionVersion, package: Package) -> Artifact | None:
    """An archive of interpreted source, or a Linux program, only has to be packed."""
    key = artifact_key(function.runtime, version)
    data = packages.content(package)
    if package.kind == PackageKind.BINARY and function.runtime == "go1.24":
        return artifacts.record(key, ArtifactKind.ELF, programs.packed(data))
    if package.kind == PackageKind.ARCHIVE and function.runtime not in _COMPILED:
        return artifacts.record(key, ArtifactKind.TREE, artifacts.tar_of(artifacts.files_of_zip(data)))
    return None


def go_live(function: Function, version: FunctionVersion) -> None:
    """Serve this version from now on, unless a newer one already does."""
    version.is_ready = True
    version.save(update_fields=["is_ready", "artifact", "dependencies"])
    function.latest_version = max(function.latest_version, version.version)
    function.last_deployed_at = timezone.now()
    if function.status != FunctionStatus.OFFLINE:
        if not is_building(function, besides=version.version):
            function.status, function.status_message = FunctionStatus.ACTIVE, ""
        elif function.status == FunctionStatus.CREATING:
            # A newer version was built before the first: it serves.
            function.status = FunctionStatus.UPDATING
    function.save(update_fields=["latest_version", "last_deployed_at", "status", "status_message", "updated_at"])
    directory.changed(function)


def is_building(function: Function, *, version: int | None = None, besides: int | None = None) -> bool:
    """Whether a build waits or runs: of any version, of this one, of any but that one."""
    open_ = function.builds.filter(status__in=[BuildStatus.PENDING, BuildStatus.RUNNING])
    if version is not None:
        open_ = open_.filter(version=version)
    if besides is not None:
        open_ = open_.exclude(version=besides)
    return open_.exists()


def claim(task_id: UUID | str, worker_id: str, now: datetime, lease_sec: float) -> BuildTask | None:
    """pending → running for one worker; None when it is not to be done (any more)."""
    task = BuildTask.objects.select_related("function").filter(pk=task_id, status=BuildStatus.PENDING).first()
    if task is None:
        return None
    won = BuildTask.objects.filter(pk=task.pk, status=BuildStatus.PENDING, attempt=task.attempt).update(
        status=BuildStatus.RUNNING,
        attempt=task.attempt + 1,
        worker_id=worker_id,
        started_at=now,
        output="",
        lease_expires_at=now + timedelta(seconds=lease_sec),
    )
    if not won:
        return None
    task.attempt += 1
    return task


def renew(task_ids: list[UUID], worker_id: str, now: datetime, lease_sec: float) -> None:
    """Push the leases of a living worker's builds."""
    BuildTask.objects.filter(pk__in=task_ids, worker_id=worker_id, status=BuildStatus.RUNNING).update(
        lease_expires_at=now + timedelta(seconds=lease_sec)
    )


def tell(task: BuildTask, output: str) -> None:
    """The compiler's log so far, while it runs."""
    BuildTask.objects.filter(pk=task.pk, status=BuildStatus.RUNNING, attempt=task.attempt).update(
        output=output[-MAX_OUTPUT:]
    )


def succeed(task: BuildTask, kind: ArtifactKind, data: bytes, output: str) -> bool:
    """running → succeeded; the version goes live. False when somebody else has ended it meanwhile."""
    version = version_of(task)
    if version is None:
        return False
    key, is_again = _result_key(version), task.type == RECOMPILE
    with transaction.atomic():
        made = artifacts.replace(key, kind, data) if is_again else artifacts.record(key, kind, data)
        delivered = _deliver(task, made, output)
    if delivered and is_again:
        # Sandboxes that run what was built before.
        redis.publish(redis.CONTROL, orjson.dumps({"evict": str(task.function_id)}))
    return delivered


def reuse(task: BuildTask) -> bool:
    """running → succeeded without work, when the same has been built for another version meanwhile."""
    if task.type == RECOMPILE:
        return False
    version = version_of(task)
    if version is None:
        return False
    with transaction.atomic():
        artifacts.hold_files()
        made = _known(_result_key(version))
        return made is not None and _deliver(task, made, "Built before: nothing to do.")


def version_of(task: BuildTask) -> FunctionVersion | None:
    """With its function and package; None when it is gone."""
    rows = FunctionVersion.objects.select_related("function", "package")
    return rows.filter(function_id=task.function_id, version=task.version).first()


def _result_key(version: FunctionVersion) -> str:
    wanted = dependencies_wanted(version)
    return wanted.key if wanted else artifact_key(version.function.runtime, version)


def _deliver(task: BuildTask, made: Artifact, output: str) -> bool:
    with transaction.atomic():
        function = Function.objects.select_for_update().filter(pk=task.function_id).first()
        if function is None or not _end(task, BuildStatus.SUCCEEDED, output, ""):
            return False
        version = function.versions.get(version=task.version)
        if function.runtime in _COMPILED:
            version.artifact = made
        else:
            version.dependencies = made
        go_live(function, version)
    return True


def fail(task: BuildTask, error: str, output: str) -> bool:
    """running → failed: the old version goes on serving, a function without one is failed."""
    with transaction.atomic():
        function = Function.objects.select_for_update().filter(pk=task.function_id).first()
        if function is None or not _end(task, BuildStatus.FAILED, output, error):
            return False
        if not is_building(function, besides=task.version):
            has_version = function.latest_version > 0
            if function.status != FunctionStatus.OFFLINE:
                function.status = FunctionStatus.ACTIVE if has_version else FunctionStatus.FAILED
            function.status_message = f"The build of version {task.version} failed: {error}"
            function.save(update_fields=["status", "status_message", "updated_at"])
        directory.changed(function)
    return True


def _end(task: BuildTask, status: str, output: str, error: str) -> bool:
    return bool(
        BuildTask.objects.filter(pk=task.pk, status=BuildStatus.RUNNING, attempt=task.attempt).update(
            status=status,
            output=output[-MAX_OUTPUT:],
            error=error,
            completed_at=timezone.now(),
            lease_expires_at=None,
        )
    )


def give_back(task: BuildTask) -> bool:
    """running → pending: its worker stops."""
    return bool(
        BuildTask.objects.filter(pk=task.pk, status=BuildStatus.RUNNING, attempt=task.attempt).update(
            status=BuildStatus.PENDING, lease_expires_at=None, sent_at=None
        )
    )


def expire_leases(now: datetime) -> int:
    """running → pending for builds whose worker died; failed when that happened too often. The count."""
    moved = 0
    for task in BuildTask.objects.filter(status=BuildStatus.RUNNING, lease_expires_at__lt=now):
        if task.attempt >= MAX_ATTEMPTS:
            moved += fail(task, "The worker was lost during the build, several times.", task.output)
        else:
            moved += give_back(task)
    return moved


def due(now: datetime, *, resend_after_sec: float) -> list[UUID]:
    """Pending builds without a message, or with one that may be lost; marked as sent now."""
    unsent = Q(sent_at=None) | Q(sent_at__lt=now - timedelta(seconds=resend_after_sec))
    ids = list(BuildTask.objects.filter(unsent, status=BuildStatus.PENDING).values_list("pk", flat=True)[:50])
    BuildTask.objects.filter(pk__in=ids, status=BuildStatus.PENDING).update(sent_at=now)
    return ids
