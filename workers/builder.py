"""The builder: a BuildTask from its claim to its end. What a builder image does is in `deploy/builders`."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from django.utils import timezone

from functions import artifacts, builds, packages
from functions.models import BuildTask, FunctionVersion, PackageKind
from functions.runtimes import RUNTIMES
from functions.spec import MAX_ARTIFACT_BYTES, ArtifactKind
from workers.toolchain import BuildError, BuildJob, BuildResult

if TYPE_CHECKING:
    from workers.worker import Worker

log = logging.getLogger("nimbus.builder")

TELL_EVERY_SEC = 0.5
_KINDS = {"go1.24": ArtifactKind.ELF, "wasm": ArtifactKind.WASM}
_ERROR_LINES = 20
_ERROR_CHARS = 4000


class BuildLog:
    """The compiler's log of one build: kept whole (bounded by the row), told to the row twice a second."""

    def __init__(self, task: BuildTask) -> None:
        self._task = task
        self._lines: list[str] = []
        self._told_at = 0.0

    def __call__(self, line: str) -> None:
        self._lines.append(line.replace("\0", "\ufffd"))
        if time.monotonic() - self._told_at >= TELL_EVERY_SEC:
            builds.tell(self._task, self.text)
            self._told_at = time.monotonic()

    @property
    def text(self) -> str:
        return "\n".join(self._lines)

    def tail(self) -> str:
        return "\n".join(self._lines[-_ERROR_LINES:])[-_ERROR_CHARS:]


def run_build(worker: Worker, task_id: str) -> None:
    """One build, then whatever else waits, while this worker has room for builds. A message is a wake-up: when all
    room is taken it is dropped, for the sweeper and those that build look for the next one."""
    if not worker.build_slots.acquire(blocking=False):
        return
    try:
        waiting: list[str] = [task_id]
        while waiting and not worker.draining.is_set():
            task = builds.claim(waiting.pop(), worker.id, timezone.now(), worker.settings.lease_sec)
            if task is not None:
                worker.builds[str(task.pk)] = task
                try:
                    _build(worker, task)
                finally:
                    worker.builds.pop(str(task.pk), None)
            waiting = waiting or [str(pk) for pk in builds.due(timezone.now(), resend_after_sec=0)[:1]]
    finally:
        worker.build_slots.release()


def _build(worker: Worker, task: BuildTask) -> None:
    told = BuildLog(task)
    version = builds.version_of(task)
    if version is None or builds.reuse(task):
        return
    deadline = time.monotonic() + worker.settings.build_timeout_sec
    try:
        result = worker.toolchains.build(job_of(version), told, deadline)
    except BuildError as error:
        log.warning("build failed for want of a builder", extra={"task_id": str(task.pk), "reason": str(error)})
        result = BuildResult(artifact=None, error=str(error))
    if worker.draining.is_set() and result.artifact is None:
        builds.give_back(task)
    elif result.artifact is None:
        builds.fail(task, _reason(result, told), told.text)
    elif len(result.artifact) > MAX_ARTIFACT_BYTES:
        size = len(result.artifact)
        builds.fail(task, f"The artifact has {size} bytes; at most {MAX_ARTIFACT_BYTES} fit.", told.text)
    else:
        kind = _KINDS.get(version.function.runtime, ArtifactKind.TREE)
        builds.succeed(task, kind, result.artifact, told.text)


def _reason(result: BuildResult, told: BuildLog) -> str:
    return "\n".join(filter(None, (result.error, told.tail())))[:_ERROR_CHARS]


def job_of(version: FunctionVersion) -> BuildJob:
    """What the builder gets for a version: its lists if those are all there is to resolve, else its sources."""
    runtime = RUNTIMES[version.function.runtime]
    if wanted := builds.dependencies_wanted(version):
        return BuildJob(toolchain=runtime.folder, files=dict(wanted.lists), network=True)
    package = version.package
    data = packages.content(package)
    suffix = {"rust": ".rs", "c": ".c"}.get(version.language, runtime.source_suffix)
    if package.kind == PackageKind.ARCHIVE:
        files = artifacts.files_of_zip(data)
    elif package.kind == PackageKind.BINARY:
        files = {"module.wasm": data}
    else:
        files = {version.handler.split(".")[0] + suffix: data}
    network = "go.mod" in files
    settings = {"NIMBUS_HANDLER": version.handler, "NIMBUS_LANGUAGE": version.language}
    return BuildJob(toolchain=runtime.folder, files=files, settings=settings, network=network)
