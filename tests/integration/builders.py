"""Builders under test, in containers and as child processes, and nothing left of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nimbus_project.config import Config
from tests.requirements import require
from workers.drivers.process_builds import ProcessToolchains
from workers.sandbox import SandboxError
from workers.toolchain import BuildJob, BuildResult, Toolchains

WORKER = f"test-builds-{os.getpid()}"
BUILD_SEC = 110.0
FIRST_C = "Building the C library once"


def open_toolchains(name: str, config: Config, toolchain: str) -> Toolchains:
    """Of that driver; its image is made when it is not up to date. Skips (or fails) the test where there is none."""
    if name == "process":
        return ProcessToolchains(config)
    from workers.drivers.docker import DockerImages
    from workers.drivers.docker.builds import DockerToolchains
    from workers.images import build_runtimes

    try:
        build_runtimes([f"builder-{toolchain}"], DockerImages())
        return DockerToolchains(config, WORKER)
    except SandboxError as error:
        require("docker", str(error))
        raise


@contextmanager
def watched_toolchains(name: str, config: Config, toolchain: str) -> Iterator[Toolchains]:
    """Closed at the end, when neither a folder nor a container of theirs may be there."""
    made = open_toolchains(name, config, toolchain)
    yield made
    made.close()
    assert list(config.var_dir.rglob("builds/*")) == []
    assert containers() == []


def containers() -> list[str]:
    """Builders of this run that are still there."""
    import docker

    from workers.drivers.docker.builds import BUILD_LABEL

    try:
        api = docker.APIClient(version="auto")
    except docker.errors.DockerException:
        return []
    try:
        return [one["Id"] for one in api.containers(all=True, filters={"label": f"{BUILD_LABEL}={WORKER}"})]
    finally:
        api.close()


def build(toolchains: Toolchains, wanted: BuildJob, sec: float = BUILD_SEC) -> tuple[BuildResult, list[str]]:
    """What came of it, and the compiler's log, less what is said before the first C build of a run only."""
    lines: list[str] = []
    result = toolchains.build(wanted, lines.append, time.monotonic() + sec)
    return result, [line for line in lines if not line.startswith(FIRST_C)]
