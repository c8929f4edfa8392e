"""What a dead worker leaves is swept; what a living one owns, or a stranger, is not. Workers here are processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from nimbus_project.config import ROOT
from tests.docker.conftest import MakeDriver, containers, until
from workers.drivers.docker.driver import SANDBOX_LABEL
from workers.liveness import LOCK_NAME, WorkerLock, bury, dead_workers, is_alive

WORKER = """
import json, sys, time
from pathlib import Path
from nimbus_project.config import Config
from tests.docker.conftest import EXEC, boot, call, probe
from workers.drivers.docker import DockerDriver
from workers.sandbox import Call
driver = DockerDriver(Config(var_dir=Path(sys.argv[1]), node=sys.argv[2]))
sandbox = boot(driver, EXEC)
print(sandbox.id, driver.worker_directory, flush=True)
for line in sys.stdin:
    if line == "spin\\n":
        code = "print('spinning', flush=True)\\nwhile True: pass"
        sandbox.invoke(Call(invocation_id="1", request_id="1"), json.dumps({"code": code}).encode(),
                       time.monotonic() + 60, lambda line: print(line.text, flush=True))
    else:
        print(probe(sandbox, "result = 'well'"), flush=True)
driver.close()
"""


class Worker:
    """A worker process with one sandbox."""

    def __init__(self, var_dir: Path, node: str) -> None:
        command = [sys.executable, "-c", WORKER, str(var_dir), node]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=dict(os.environ))
        self.sandbox, directory = self._line().split(" ", 1)
        self.directory = Path(directory)

    def ask(self, what: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self._line()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the worker process ended"
        return line


@pytest.fixture
def start_worker(engine: docker.APIClient, tmp_path: Path, node: str) -> Iterator[Callable[[], Worker]]:
    workers: list[Worker] = []

    def start() -> Worker:
        workers.append(Worker(tmp_path, node))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.communicate(timeout=20)  # the end of its input lets it close its driver


def test_a_killed_workers_sandbox_is_swept(
    start_worker: Callable[[], Worker], make_driver: MakeDriver, engine: docker.APIClient, node: str, tmp_path: Path
) -> None:
    worker = start_worker()
    assert worker.ask("spin") == "spinning"  # so that the runner does not notice that its worker is gone
    worker.kill()
    assert worker.sandbox in containers(engine, node)
    driver = make_driver(var_dir=tmp_path)
    assert driver.sweep() == 1
    assert containers(engine, node) == []
    assert not worker.directory.exists()
    assert driver.sweep() == 0


def test_an_idle_sandbox_ends_with_its_worker_and_is_swept(
    start_worker: Callable[[], Worker], make_driver: MakeDriver, engine: docker.APIClient, node: str, tmp_path: Path
) -> None:
    worker = start_worker()
    worker.kill()
    until(lambda: engine.inspect_container(worker.sandbox)["State"]["Status"] == "exited")
    assert make_driver(var_dir=tmp_path).sweep() == 1
    assert containers(engine, node) == []


def test_a_living_workers_sandbox_is_left_alone(
    start_worker: Callable[[], Worker], make_driver: MakeDriver, engine: docker.APIClient, node: str, tmp_path: Path
) -> None:
    worker = start_worker()
    assert make_driver(var_dir=tmp_path).sweep() == 0
    assert make_driver(var_dir=tmp_path / "another").sweep() == 0  # nor by another installation on this machine
    assert worker.ask("how are you") == "well"
    assert worker.directory.is_dir()


def test_the_dead_are_swept_from_among_the_living(
    start_worker: Callable[[], Worker], make_driver: MakeDriver, engine: docker.APIClient, node: str, tmp_path: Path
) -> None:
    living, dead = start_worker(), start_worker()
    dead.kill()
    assert make_driver(var_dir=tmp_path).sweep() == 1
    assert containers(engine, node) == [living.sandbox]
    assert living.ask("how are you") == "well"


def test_a_strangers_container_is_left_alone(make_driver: MakeDriver, engine: docker.APIClient, tmp_path: Path) -> None:
    stranger = engine.create_container("debian:bookworm-slim", command=["true"], labels={"somebody": "else"})["Id"]
    try:
        make_driver(var_dir=tmp_path).sweep()
        assert engine.inspect_container(stranger)["Id"] == stranger
    finally:
        engine.remove_container(stranger, force=True)


def test_what_the_engine_would_not_remove_is_swept_by_its_own_worker(
    make_driver: MakeDriver, engine: docker.APIClient, node: str, tmp_path: Path
) -> None:
    """A container with this worker's label that the driver does not know any more."""
    driver = make_driver(var_dir=tmp_path)
    labels = {
        SANDBOX_LABEL: "nimbus-forgotten",
        "nimbus.node": node,
        "nimbus.run": str(driver.worker_directory.parent),
        "nimbus.worker": driver.worker_directory.name,
    }
    engine.create_container("debian:bookworm-slim", command=["true"], labels=labels)
    assert driver.sweep() == 1
    assert containers(engine, node) == []


def test_a_lock_is_held_until_release(tmp_path: Path) -> None:
    with WorkerLock(tmp_path, "docker") as lock:
        assert is_alive(lock.directory)
        assert list(dead_workers(tmp_path, "docker")) == []
        bury(lock.directory)
        assert lock.directory.is_dir()
        assert lock.directory.stat().st_mode & 0o777 == 0o700
    assert not lock.directory.exists()
    lock.release()


def test_a_directory_whose_lock_nobody_holds_is_a_dead_workers(tmp_path: Path) -> None:
    for name in ("docker-1-aaa", "process-1-bbb"):
        (tmp_path / name).mkdir()
        (tmp_path / name / LOCK_NAME).touch()
    assert [one.name for one in dead_workers(tmp_path, "docker")] == ["docker-1-aaa"]
    bury(tmp_path / "docker-1-aaa")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["process-1-bbb"]
