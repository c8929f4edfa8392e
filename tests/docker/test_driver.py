"""The Docker driver: ends, sizes, several at once, what it says when something is missing."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest

from functions.runtimes import Runtime
from invocations.outcome import ErrorType, Fault, Outcome, Status
from nimbus_project.config import MIB
from tests.docker.conftest import BOOT_SEC, EXEC, PYTHON, MakeDriver, boot, call, containers, probe, spec_of, until
from workers.drivers.docker import DockerDriver
from workers.sandbox import Call, SandboxError

SPIN = "def handler(event, context):\n    print('spinning', flush=True)\n    while True: pass"


def running(engine: docker.APIClient, container: str) -> bool:
    try:
        return bool(engine.inspect_container(container)["State"]["Running"])
    except docker.errors.NotFound:
        return False


def soon() -> float:
    return time.monotonic() + BOOT_SEC


def test_code_stops_at_the_deadline(driver: DockerDriver, engine: docker.APIClient) -> None:
    sandbox = boot(driver, SPIN)
    began = time.monotonic()
    outcome = call(sandbox, timeout_sec=0.5)
    assert outcome.error_type == ErrorType.TIMEOUT
    assert 0.5 <= time.monotonic() - began < 0.8
    assert [line.text for line in outcome.logs] == ["spinning"]
    until(lambda: not running(engine, sandbox.container.id), bound_sec=3)
    sandbox.destroy()


def test_destroy_during_invoke_cancels_it(driver: DockerDriver, engine: docker.APIClient) -> None:
    sandbox = boot(driver, SPIN)
    spinning = threading.Event()
    outcomes: list[Outcome] = []

    def run() -> None:
        one = Call(invocation_id="1", request_id="1")
        outcomes.append(sandbox.invoke(one, b"{}", time.monotonic() + 30, lambda line: spinning.set()))

    thread = threading.Thread(target=run)
    thread.start()
    assert spinning.wait(10)
    sandbox.destroy()
    assert not running(engine, sandbox.container.id)
    thread.join(2)
    assert outcomes[0].status is Status.CANCELLED
    sandbox.destroy()


def test_nothing_is_left_of_a_destroyed_sandbox(driver: DockerDriver, engine: docker.APIClient, node: str) -> None:
    sandbox = boot(driver, EXEC)
    folder = driver.worker_directory / sandbox.id
    assert sandbox.id in containers(engine, node)
    assert folder.is_dir()
    sandbox.destroy()
    assert not sandbox.alive
    until(lambda: sandbox.id not in containers(engine, node))
    until(lambda: not folder.exists())


@pytest.mark.parametrize(
    ("body", "error_type", "says"),
    [
        ("import os; os._exit(3)", ErrorType.PROCESS_EXITED, "code 3"),
        ("import os; os.kill(os.getpid(), 9)", ErrorType.PROCESS_CRASHED, "SIGKILL"),
        ("import os; os.abort()", ErrorType.PROCESS_CRASHED, "SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", ErrorType.PROCESS_CRASHED, "SIGSEGV"),
    ],
)
def test_the_cause_of_death_is_known(driver: DockerDriver, body: str, error_type: str, says: str) -> None:
    sandbox = boot(driver, f"def handler(event, context):\n    {body}")
    outcome = call(sandbox)
    assert (outcome.error_type, outcome.fault) == (error_type, Fault.FUNCTION)
    assert says in outcome.error
    assert not sandbox.alive
    sandbox.destroy()


def test_out_of_memory_is_told_every_time(driver: DockerDriver) -> None:
    fill = "def handler(event, context):\n    held = []\n    while True: held.append('x' * 100_000)"
    for _ in range(5):
        sandbox = boot(driver, fill)
        assert call(sandbox).error_type == ErrorType.OUT_OF_MEMORY
        sandbox.destroy()


def test_a_prewarmed_sandbox_is_fitted_to_another_size(driver: DockerDriver, engine: docker.APIClient) -> None:
    code = "def handler(event, context):\n    return len(bytearray(event * 1024 * 1024))"
    for booted_mb, wanted_mb, fits_mb in [(128, 256, 180), (512, 128, 60)]:
        sandbox = driver.create(PYTHON, memory_mb=booted_mb, deadline=soon())
        assert sandbox.load(spec_of(code, memory_mb=wanted_mb), soon()) is None
        limits = engine.inspect_container(sandbox.container.id)["HostConfig"]
        assert limits["Memory"] == limits["MemorySwap"] == wanted_mb * MIB
        assert sandbox.memory_mb == wanted_mb
        assert call(sandbox, fits_mb).ok
        assert call(sandbox, wanted_mb + 50).error_type == ErrorType.OUT_OF_MEMORY
        sandbox.destroy()


def test_two_drivers_at_once_keep_to_their_own(make_driver: MakeDriver, engine: docker.APIClient) -> None:
    one, other = make_driver(), make_driver()
    with ThreadPoolExecutor(2) as threads:
        mine, theirs = threads.map(lambda each: boot(each, EXEC), [one, other])
    assert one.sweep() == other.sweep() == 0
    one.close()
    assert not running(engine, mine.container.id)
    assert probe(theirs, "result = 1 + 1") == 2
    other.close()
    assert not running(engine, theirs.container.id)


def test_close_ends_a_running_call_and_refuses_new_sandboxes(make_driver: MakeDriver, engine: docker.APIClient) -> None:
    closing = make_driver()
    sandbox = boot(closing, SPIN)
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(call(sandbox)))
    thread.start()
    until(lambda: sandbox.busy)
    closing.close()
    thread.join(5)
    assert not running(engine, sandbox.container.id)
    assert not outcomes[0].ok
    assert not closing.worker_directory.exists()
    with pytest.raises(SandboxError, match="stopping"):
        closing.create(PYTHON, memory_mb=128, deadline=soon())
    closing.close()


def test_a_socket_path_above_the_systems_limit(make_driver: MakeDriver, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    driver = make_driver(var_dir=deep)
    sandbox = boot(driver, EXEC)
    assert probe(sandbox, "result = 'reached'") == "reached"
    driver.close()


def test_a_missing_image_is_named_with_its_remedy(driver: DockerDriver, node: str, engine: docker.APIClient) -> None:
    missing = Runtime("cobol", "cobol", "nimbus/runtime-cobol:85", ".cob", "COBOL 85")
    said = driver.available(missing)
    assert said is not None
    assert "nimbus/runtime-cobol:85" in said
    assert "build_runtimes cobol" in said
    with pytest.raises(SandboxError, match="build_runtimes cobol"):
        driver.create(missing, memory_mb=128, deadline=soon())
    assert driver.available(PYTHON) is None


def test_a_container_that_ends_at_once_is_not_waited_for(
    make_driver: MakeDriver, node: str, engine: docker.APIClient
) -> None:
    """An image without a runner: its program ends, and `create` says so long before the deadline."""
    driver = make_driver()
    without = Runtime("none", "none", "debian:bookworm-slim", ".txt", "no runner")
    began = time.monotonic()
    with pytest.raises(SandboxError, match="ended with code"):
        driver.create(without, memory_mb=128, deadline=soon())
    assert time.monotonic() - began < 10
    driver.close()
    assert list(driver.worker_directory.parent.glob("nimbus-*")) == []


def test_a_runner_that_never_connects_is_given_up_at_the_deadline(
    make_driver: MakeDriver, engine: docker.APIClient, node: str
) -> None:
    driver = make_driver()
    before = containers(engine, node)
    with pytest.raises(SandboxError, match="in time"):
        driver.create(PYTHON, memory_mb=128, deadline=time.monotonic() + 0.001)
    until(lambda: containers(engine, node) == before)


def test_the_container_says_whose_it_is(driver: DockerDriver, engine: docker.APIClient, node: str) -> None:
    sandbox = driver.create(PYTHON, memory_mb=128, deadline=soon())
    labels = engine.inspect_container(sandbox.container.id)["Config"]["Labels"]
    assert labels["nimbus.node"] == node
    assert labels["nimbus.worker"] == driver.worker_directory.name
    assert labels["nimbus.runtime"] == PYTHON.name
    assert labels["nimbus.sandbox"] == sandbox.id
    sandbox.destroy()
