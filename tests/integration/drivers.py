"""The drivers under test, and the little it takes to run a function on one."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from functions.runtimes import Runtime
from functions.spec import ArtifactKind, FunctionSpec
from invocations.outcome import Fault, Outcome
from nimbus_project.config import Config
from tests.handlers.zoo import ANY, BY_LANGUAGE, CALL, ENV, Case
from tests.integration.artifacts import KINDS, artifact_of, stage_in
from tests.platform import share_compilers
from tests.requirements import require
from tests.services import missing_images
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
        share_compilers(config.var_dir)
        return ProcessDriver(config, stage)
    require(name, _images_missing())
    try:
        from workers.drivers.docker import DockerDriver

        return DockerDriver(config, stage)
    except (ImportError, SandboxError) as error:
        require(name, str(error))
        raise


@cache
def _images_missing() -> str | None:
    """Makes those that are not of the runners in this tree: else it is old ones that are tested."""
    return missing_images(*(runtime.name for runtime in BY_LANGUAGE.values()))


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


def check_output(outcome: Outcome, expected: object) -> None:
    """The result of a call that succeeded."""
    assert outcome.output is not None
    found = orjson.loads(outcome.output)
    if isinstance(expected, str) and "|" in expected:
        assert re.fullmatch(expected, found)
    else:
        assert expected is ANY or found == expected


def check_outcome(outcome: Outcome, case: Case) -> None:
    """What the last call of a case came to."""
    assert outcome.status is case.status, outcome
    if case.logs is not None:
        assert tuple(f"{line.stream}: {line.text}" for line in outcome.logs) == case.logs
    if outcome.ok:
        assert outcome.memory_used_mb and 0 < outcome.memory_used_mb < 600
        return
    assert outcome.fault is Fault.FUNCTION
    assert outcome.output is None
    assert re.fullmatch(case.error_type, outcome.error_type), outcome
    assert re.search(case.error, outcome.error), outcome.error
    assert len(outcome.error) < 70_000
    if case.stack:
        assert len(outcome.stack_trace) == len(case.stack), outcome.stack_trace
        assert all(re.search(*pair) for pair in zip(case.stack, outcome.stack_trace, strict=True)), outcome.stack_trace
    assert not any("runner" in line for line in outcome.stack_trace)
