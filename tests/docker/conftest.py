"""A driver of its own on the real engine, sandboxes with user code in them, and nothing left over."""

from __future__ import annotations

import hashlib
import json
import secrets
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any

import docker
import pytest

from functions.runtimes import RUNTIMES
from functions.spec import FunctionSpec
from invocations.outcome import Outcome
from nimbus_project.config import Config
from tests.requirements import require
from workers.drivers.docker import DockerDriver, DockerImages, DockerSandbox
from workers.drivers.docker.driver import SANDBOX_LABEL
from workers.images import build_runtimes
from workers.sandbox import Call

PYTHON = RUNTIMES["python3.11"]
BOOT_SEC = 60.0
CALL_SEC = 20.0

EXEC = """
def handler(event, context):
    names = {"event": event}
    exec(event["code"], names)
    return names["result"]
"""
"""User code that runs what the event brings: one sandbox serves many probes."""

MakeDriver = Callable[..., DockerDriver]


def until(condition: Callable[[], object], bound_sec: float = 10.0) -> None:
    """Wait for the condition; fail when it does not come."""
    deadline = time.monotonic() + bound_sec
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def spec_of(code: str, *, memory_mb: int = 128, timeout_sec: int = 20, network: str = "none") -> FunctionSpec:
    artifact = textwrap.dedent(code).encode()
    return FunctionSpec(
        function_id=secrets.token_hex(8),
        function_name="probe",
        version=1,
        runtime=PYTHON.name,
        handler="main.handler",
        memory_mb=memory_mb,
        timeout_sec=timeout_sec,
        artifact=artifact,
        artifact_sha256=hashlib.sha256(artifact).hexdigest(),
        network=network,
    )


def boot(driver: DockerDriver, code: str, *, memory_mb: int = 128, network: str = "none") -> DockerSandbox:
    """A sandbox with this code loaded."""
    sandbox = driver.create(PYTHON, memory_mb=memory_mb, network=network, deadline=time.monotonic() + BOOT_SEC)
    spec = spec_of(code, memory_mb=memory_mb, network=network)
    assert sandbox.load(spec, time.monotonic() + CALL_SEC) is None
    return sandbox


def call(sandbox: DockerSandbox, event: object = None, *, timeout_sec: float = CALL_SEC) -> Outcome:
    one = Call(invocation_id=secrets.token_hex(8), request_id="test")
    return sandbox.invoke(one, json.dumps(event).encode(), time.monotonic() + timeout_sec)


def probe(sandbox: DockerSandbox, code: str, **event: object) -> Any:
    """What `result` is after the code has run inside an EXEC sandbox."""
    outcome = call(sandbox, {"code": textwrap.dedent(code), **event})
    assert outcome.ok, f"{outcome.error_type}: {outcome.error}"
    assert outcome.output is not None
    return json.loads(outcome.output)


def _missing_engine() -> str | None:
    try:
        docker.APIClient(version="auto").close()
    except docker.errors.DockerException as error:
        return f"no engine answers: {error}"
    return None


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.APIClient]:
    """The real engine, with the Python image up to date."""
    require("docker", _missing_engine())
    build_runtimes([PYTHON.name], DockerImages())
    api = docker.APIClient(version="auto")
    yield api
    api.close()


@pytest.fixture(scope="session")
def node() -> str:
    """A node name that no other run on this machine has."""
    return f"test-{secrets.token_hex(4)}"


@pytest.fixture(scope="module")
def make_driver(engine: docker.APIClient, node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeDriver]:
    """Drivers on a small configuration; closed afterwards, and then nothing of this node may be left."""
    made: list[DockerDriver] = []
    var_dir = tmp_path_factory.mktemp("var")

    def make(**settings: Any) -> DockerDriver:
        values = {"var_dir": var_dir, "node": node, "sandbox_tmp_mb": 8, "sandbox_pids": 32, **settings}
        made.append(DockerDriver(Config(**values)))
        return made[-1]

    yield make
    for driver in made:
        driver.close()
    assert containers(engine, node) == []


@pytest.fixture(scope="module")
def driver(make_driver: MakeDriver) -> DockerDriver:
    return make_driver()


def containers(engine: docker.APIClient, node: str) -> list[str]:
    """Names of the node's sandboxes, running or not."""
    found = engine.containers(all=True, filters={"label": [SANDBOX_LABEL, f"nimbus.node={node}"]})
    return sorted(one["Names"][0].lstrip("/") for one in found)
