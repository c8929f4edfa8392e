"""The drivers under test, and the little it takes to run a function on one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from functions.runtimes import Runtime
from functions.spec import ArtifactKind, FunctionSpec
from invocations.outcome import Outcome
from nimbus_project.config import Config
from tests.handlers.zoo import BY_LANGUAGE, CALL, ENV, Case
from tests.integration.artifacts import KINDS, artifact_of, stage_in
from tests.requirements import require
from workers.drivers.process import ProcessDriver
from workers.sandbox import Call, Sandbox, SandboxDriver, SandboxError, Stage

DRIVERS = ("process", "docker")
BOOT_SEC = 60.0
LONG_SEC = 60.0


@contextmanager
def open_driver(name: str, var_dir: Path) -> Iterator[SandboxDriver]:
    """A driver with state of its own, closed at the end. Skips (or fails) the test where the machine lacks it."""
    config = Config(var_dir=var_dir, max_log_bytes=256 * 1024, sandbox_pids=64)
    driver = _make(name, config, stage_in(var_dir / "artifacts"))
    try:
        for runtime in BY_LANGUAGE.values():
            require(name, driver.available(runtime))
        yield driver
    finally:
        driver.close()


def _make(name: str, config: Config, stage: Stage) -> SandboxDriver:
    if name == "process":
        return ProcessDriver(config, stage)
    try:
        from workers.drivers.docker import DockerDriver

        return DockerDriver(config, stage)
    except (ImportError, SandboxError) as error:
        require(name, str(error))
        raise


def spec_of(case: Case, env: dict[str, str] | None = None) -> FunctionSpec:
    folder = artifact_of(case)
    return FunctionSpec(
        function_id=f"id-of-{case.name}",
        function_name="zoo",
        version=7,
        runtime=case.runtime.name,
        handler="handler.main",
        memory_mb=case.memory_mb,
        timeout_sec=case.timeout_sec,
        artifact=b"" if folder else case.source,
        artifact_sha256="",
        artifact_kind=KINDS.get(case.language, ArtifactKind.SOURCE),
        folder=folder,
        env_vars=ENV if env is None else env,
    )


def boot(driver: SandboxDriver, runtime: Runtime, memory_mb: int = 256) -> Sandbox:
    return driver.create(runtime, memory_mb=memory_mb, deadline=time.monotonic() + BOOT_SEC)


def ready(driver: SandboxDriver, case: Case) -> Sandbox:
    """A sandbox with the case's code loaded."""
    sandbox = boot(driver, case.runtime, case.memory_mb)
    outcome = sandbox.load(spec_of(case), time.monotonic() + LONG_SEC)
    assert outcome is None, outcome
    return sandbox


def call(sandbox: Sandbox, event: Any, number: int = 0, timeout_sec: float = LONG_SEC) -> Outcome:
    told = Call(
        invocation_id=f"inv-{number}",
        request_id=str(CALL["request_id"]),
        attempt=2,
        alias=str(CALL["alias"]),
        trigger_type=str(CALL["trigger_type"]),
    )
    return sandbox.invoke(told, orjson.dumps(event), time.monotonic() + timeout_sec)
