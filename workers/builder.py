"""The builder: a BuildTask from its claim to its end, and sources that are compiled for a caller who waits. What a
builder image does is in `deploy/builders`."""

from __future__ import annotations

import io
import logging
import tarfile
import time
from typing import TYPE_CHECKING

from django.utils import timezone

from functions import artifacts, builds, compiles, packages
from functions.models import BuildTask, FunctionVersion, PackageKind
from functions.runtimes import RUNTIMES, Runtime
from functions.spec import MAX_ARTIFACT_BYTES, ArtifactKind
from nimbus_project.config import config
from workers.toolchain import BuildError, BuildJob, BuildResult

if TYPE_CHECKING:
    from workers.worker import Worker

log = logging.getLogger("nimbus.builder")

TELL_EVERY_SEC = 0.5
_KINDS = {"go1.24": ArtifactKind.ELF, "wasm": ArtifactKind.WASM}
_PROGRAMS = ("main", "module.wasm")
_ERROR_LINES = 20
_ERROR_CHARS = 4000


class BuildLog:
    """The compiler's log of one build: kept whole (bounded by the row), told to the row, if there is one, twice a
    second."""

    def __init__(self, task: BuildTask | None = None) -> None:
        self._task = task
        self._lines: list[str] = []
        self._told_at = 0.0

    def __call__(self, line: str) -> None:
        self._lines.append(line.replace("\0", "\ufffd"))
        if self._task is not None and time.monotonic() - self._told_at >= TELL_EVERY_SEC:
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
    _while_there_is_room(worker, task_id)


def run_compile(worker: Worker) -> None:
    """What callers wait for, then whatever else waits. A message is a wake-up here too."""
    _while_there_is_room(worker, "")


def _while_there_is_room(worker: Worker, task_id: str) -> None:
    if not worker.build_slots.acquire(blocking=False):
        return
    try:
        waiting = [task_id] if task_id else []
        while not worker.draining.is_set():
            # A caller who waits comes before the next row.
            if not waiting and (request := compiles.next_request()) is not None:
                _compile(worker, request)
                continue
            waiting = waiting or [str(pk) for pk in builds.due(timezone.now(), resend_after_sec=0)[:1]]
            if not waiting:
                return
            _claim_and_build(worker, waiting.pop())
    finally:
        worker.build_slots.release()


def _compile(worker: Worker, request: compiles.Request) -> None:
    told = BuildLog()
    job = source_job(RUNTIMES[request.runtime], request.handler, request.language, request.code.encode())
    deadline = time.monotonic() + min(worker.settings.build_timeout_sec, request.deadline - time.time())
    try:
        result = worker.toolchains.build(job, told, deadline)
    except BuildError as error:
        log.warning("a source was not compiled for want of a builder", extra={"reason": str(error)})
        result = BuildResult(artifact=None, error=str(error))
    if result.artifact is None:
        compiled = compiles.Compiled(success=False, output=told.text, error=_reason(result, told))
    else:
        compiled = compiles.Compiled(success=True, output=told.text, binary=program_of(result.artifact))
    compiles.answer(request, compiled)


def program_of(artifact: bytes) -> bytes:
    """The compiled program or module in an artifact."""
    with tarfile.open(fileobj=io.BytesIO(artifact), mode="r:*") as tar:
        names = tar.getnames()
        file = tar.extractfile(next(name for name in _PROGRAMS if name in names))
        assert file is not None
        return file.read()


def _claim_and_build(worker: Worker, task_id: str) -> None:
    task = builds.claim(task_id, worker.id, timezone.now(), worker.settings.lease_sec)
    if task is None:
        return
    worker.builds[str(task.pk)] = task
    try:
        _build(worker, task)
    finally:
        worker.builds.pop(str(task.pk), None)


def _build(worker: Worker, task: BuildTask) -> None:
    told = BuildLog(task)
    version = builds.version_of(task)
    if version is None:
        builds.fail(task, "The version is gone.", "")
        return
    if builds.reuse(task):
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
    why = "\n".join(filter(None, (result.error, told.tail())))[:_ERROR_CHARS]
    return why or "The builder ended without a word."


def job_of(version: FunctionVersion) -> BuildJob:
    """What the builder gets for a version: its lists if those are all there is to resolve, else its sources."""
    runtime = RUNTIMES[version.function.runtime]
    if wanted := builds.dependencies_wanted(version):
        return BuildJob(toolchain=runtime.folder, files=dict(wanted.lists), network=True)
    data = packages.content(version.package)
    match version.package.kind:
        case PackageKind.SOURCE:
            return source_job(runtime, version.handler, version.language, data)
        case PackageKind.BINARY:
            files = {"module.wasm": data}
        case _:
            files = artifacts.files_of_zip(data)
    settings = {"NIMBUS_HANDLER": version.handler, "NIMBUS_LANGUAGE": version.language}
    return BuildJob(toolchain=runtime.folder, files=files, settings=settings, network=_fetches_modules(files))


def source_job(runtime: Runtime, handler: str, language: str, code: bytes) -> BuildJob:
    """What the builder gets for one source file."""
    suffix = {"rust": ".rs", "c": ".c"}.get(language, runtime.source_suffix)
    settings = {"NIMBUS_HANDLER": handler, "NIMBUS_LANGUAGE": language}
    return BuildJob(toolchain=runtime.folder, files={handler.split(".")[0] + suffix: code}, settings=settings)


def _fetches_modules(files: dict[str, bytes]) -> bool:
    """Whether a Go project asks for modules that it does not bring along, and they may be fetched."""
    asks = b"require" in files.get("go.mod", b"") and "vendor/modules.txt" not in files
    return asks and config().go_proxy != "off"
