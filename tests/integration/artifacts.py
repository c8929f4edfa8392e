"""What the zoo's compiled handlers are built to: by the real builder, each source once in a run."""

from __future__ import annotations

import atexit
import hashlib
import time
from functools import cache
from pathlib import Path

from functions.spec import ArtifactKind, StoredFolder
from nimbus_project.config import Config
from tests.handlers.zoo import BY_LANGUAGE, COMPILED, Case
from tests.requirements import require
from workers.artifacts import ArtifactCache
from workers.images import build_runtimes
from workers.sandbox import SandboxError, Stage
from workers.toolchain import BuildError, BuildJob, BuildResult, Toolchains

BUILD_SEC = 120.0
KINDS = {"rust": ArtifactKind.WASM, "c": ArtifactKind.WASM, "go": ArtifactKind.ELF}

_stored: dict[str, bytes] = {}


@cache
def docker_toolchains() -> Toolchains:
    """Builder containers, closed at the end of the run. Raises SandboxError where no engine answers."""
    from workers.drivers.docker.builds import DockerToolchains

    made = DockerToolchains(Config(build_memory_mb=1024), "tests")
    atexit.register(made.close)
    return made


@cache
def builder_ready(toolchain: str) -> None:
    """Make its image when it is not up to date. Raises SandboxError where no engine answers."""
    from workers.drivers.docker import DockerImages

    build_runtimes([f"builder-{toolchain}"], DockerImages())


def build(job: BuildJob, lines: list[str] | None = None) -> BuildResult:
    """In a builder container; skips (or fails) the test where there is no engine."""
    try:
        builder_ready(job.toolchain)
        toolchains = docker_toolchains()
    except SandboxError as error:
        require("docker", str(error))
        raise
    return toolchains.build(job, (lines if lines is not None else []).append, time.monotonic() + BUILD_SEC)


def job_of(toolchain: str, language: str, files: dict[str, bytes]) -> BuildJob:
    settings = {"NIMBUS_HANDLER": "handler.main", "NIMBUS_LANGUAGE": language}
    return BuildJob(toolchain=toolchain, files=files, settings=settings)


@cache
def folder_of(language: str, source: bytes) -> StoredFolder:
    """The artifact of one source, as a driver's stage finds it."""
    lines: list[str] = []
    job = job_of(BY_LANGUAGE[language].folder, language, {f"handler{COMPILED[language]}": source})
    result = build(job, lines)
    if result.artifact is None:
        raise BuildError("\n".join([result.error, *lines]))
    return keep(result.artifact)


def keep(artifact: bytes) -> StoredFolder:
    sha256 = hashlib.sha256(artifact).hexdigest()
    _stored[sha256] = artifact
    return StoredFolder(sha256=sha256, stored_as=sha256)


def artifact_of(case: Case) -> StoredFolder | None:
    """None for a language that runs from source."""
    return folder_of(case.language, case.source) if case.language in COMPILED else None


def stage_in(folder: Path) -> Stage:
    """For a driver: what `keep` has, unpacked below `folder`."""
    return ArtifactCache(folder, _stored.__getitem__, max_bytes=1 << 30).stage
