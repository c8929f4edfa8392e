"""`make run` for real: the supervisor, its parts, the quick start it prints, and that nothing outlives it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from nimbus_project.config import ROOT
from tests.platform import NO_COMPILERS
from tests.services import Server, free_port, wait_until

START_SEC = 90.0
END_SEC = 60.0
_EARLY_END_SEC = 30.0
HELLO = {"message": "Hello Nimbus"}


class Supervisor(Server):
    """One `python -m nimbus_project.supervisor` on a folder and port of its own."""

    def __init__(self, var_dir: Path, port: int, log: str = "supervisor.log") -> None:
        super().__init__("supervisor", var_dir.parent / log)
        self.var_dir = var_dir
        self.port = port
        self.url = f"http://localhost:{port}"

    def start(self, *arguments: str, **env: str) -> None:
        settings = {
            "NIMBUS_VAR_DIR": str(self.var_dir),
            "NIMBUS_PORT": str(self.port),
            "NIMBUS_SANDBOX_DRIVER": "process",
            "NIMBUS_DRAIN_GRACE_SEC": "5",
            **NO_COMPILERS,
        }
        kept = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "NIMBUS_REDIS_URL"}}
        command = [sys.executable, "-m", "nimbus_project.supervisor", *arguments]
        self._spawn(command, env={**kept, **settings, **env}, cwd=ROOT)

    def ready(self) -> None:
        self.wait_for(lambda: "NIMBUS is ready" in self.logs(), "the banner", START_SEC)

    def ends(self) -> int:
        """Its exit code, when it ends by itself."""
        assert self.process is not None
        return self.process.wait(_EARLY_END_SEC)

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def part(self, word: str) -> psutil.Process:
        """The child whose command line has the word."""
        return next(child for child in psutil.Process(self.pid).children() if word in " ".join(child.cmdline()))


@pytest.fixture
def var_dir(scratch: Path, request: pytest.FixtureRequest) -> Path:
    # Short: Redis's socket lies below it.
    folder = scratch / f"{abs(hash(request.node.nodeid)) % 10**8}" / "var"
    folder.parent.mkdir()
    return folder


@pytest.fixture
def supervisor(var_dir: Path) -> Iterator[Supervisor]:
    started = Supervisor(var_dir, free_port())
    yield started
    if started.running:
        left = started.descendants()
        started.kill9()
        all_gone(left)


def all_gone(processes: list[psutil.Process]) -> None:
    """Ended, zombies included: whose parent is gone too, they wait only for init."""

    def living() -> list[psutil.Process]:
        return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]

    def none() -> bool:
        try:
            return not living()
        except psutil.NoSuchProcess:
            return False

    wait_until(none, 20, f"the end of {processes}")


def sockets(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_socket()]


def quick_start(supervisor: Supervisor) -> object:
    """The two commands as the banner prints them, run by a shell's rules; what the function answered."""
    commands = re.findall(r"^\s+(curl .*)$", supervisor.logs(), re.MULTILINE)
    assert len(commands) == 2
    answer = ""
    for command in commands:
        done = subprocess.run([*shlex.split(command), "-sS"], capture_output=True, text=True, timeout=60, check=True)
        answer = done.stdout
    return json.loads(answer)["body"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_quick_start_works_and_a_signal_ends_everything(supervisor: Supervisor, how: signal.Signals) -> None:
    # With Go in stock: its compiler is still at work when the end comes.
    supervisor.start(NIMBUS_PREWARM_GO="1")
    supervisor.ready()
    assert quick_start(supervisor) == HELLO
    assert "no container keeps them from reading" in supervisor.logs()
    processes = supervisor.descendants()
    assert len(processes) >= 4
    assert sockets(supervisor.var_dir)

    assert supervisor.stop(END_SEC, how) == 0

    all_gone(processes)
    assert sockets(supervisor.var_dir) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(supervisor.url)
    assert "is killed" not in supervisor.logs()


def test_a_killed_supervisor_leaves_nothing_and_the_next_start_is_clean(supervisor: Supervisor) -> None:
    supervisor.start()
    supervisor.ready()
    processes = supervisor.descendants()
    supervisor.kill9()
    all_gone(processes)

    again = Supervisor(supervisor.var_dir, supervisor.port, "again.log")
    again.start()
    try:
        again.ready()
        assert quick_start(again) == HELLO
    finally:
        again.stop(END_SEC)
    assert sockets(supervisor.var_dir) == []


@pytest.mark.parametrize(
    ("word", "name"),
    [(".serve", "web-1"), ("worker", "worker-1"), ("redis-server", "redis"), (" beat ", "beat")],
)
def test_a_part_that_dies_is_started_again(supervisor: Supervisor, word: str, name: str) -> None:
    supervisor.start()
    supervisor.ready()
    before = supervisor.part(word)
    before.kill()
    supervisor.wait_for(lambda: f"{name} ended (signal SIGKILL)" in supervisor.logs(), "the notice")
    supervisor.wait_for(lambda: _is_new(supervisor, word, before), f"another {name}")
    # No call is refused meanwhile: the supervisor holds the listening socket.
    supervisor.wait_for(lambda: httpx.get(f"{supervisor.url}/health/ready", timeout=60).status_code == 200, "ready")
    assert supervisor.stop(END_SEC) == 0


def _is_new(supervisor: Supervisor, word: str, before: psutil.Process) -> bool:
    try:
        return supervisor.part(word).pid != before.pid
    except (StopIteration, psutil.NoSuchProcess):
        return False


def test_a_part_that_never_stays_up_is_given_up(supervisor: Supervisor) -> None:
    (supervisor.var_dir / "redis.sock" / "in the way").mkdir(parents=True)
    supervisor.start()
    assert supervisor.ends() == 1
    assert supervisor.logs().count("redis ended (exit code 1) and is started again") == 4
    assert "ERROR: redis ended 5 times in a row within 10 s of its start" in supervisor.logs()
    assert "Opening Unix socket: bind" in supervisor.logs(), "its own words are shown"


def test_a_busy_port_is_one_clear_sentence(supervisor: Supervisor) -> None:
    with socket.create_server(("127.0.0.1", supervisor.port)):
        supervisor.start()
        assert supervisor.ends() == 1
    line = supervisor.logs().strip()
    assert line.endswith(
        f"ERROR: Port {supervisor.port} of 127.0.0.1 is in use by another program. Choose another with NIMBUS_PORT."
    )
    assert "\n" not in line


def test_a_second_start_on_the_same_folder_is_refused(supervisor: Supervisor) -> None:
    supervisor.start()
    wait_until(lambda: (supervisor.var_dir / "redis.sock").exists(), START_SEC, "the first one holds the folder")
    second = Supervisor(supervisor.var_dir, free_port(), "second.log")
    second.start()
    assert second.ends() == 1
    assert f"Nimbus already runs on {supervisor.var_dir} (pid {supervisor.pid})" in second.logs()
    supervisor.ready()
    assert supervisor.stop(END_SEC) == 0


def test_the_end_during_the_start_is_an_end_too(supervisor: Supervisor) -> None:
    supervisor.start()
    wait_until(lambda: (supervisor.var_dir / "redis.sock").exists(), START_SEC, "the start goes on")
    processes = supervisor.descendants()
    assert supervisor.stop(END_SEC) == 0
    all_gone(processes)
    assert sockets(supervisor.var_dir) == []


def test_running_work_finishes_before_the_end(supervisor: Supervisor) -> None:
    supervisor.start(NIMBUS_DRAIN_GRACE_SEC="20")
    supervisor.ready()
    # The function may run as another user.
    marker = supervisor.var_dir.parent / "open" / "marker"
    marker.parent.mkdir()
    marker.parent.chmod(0o777)
    code = f"""import pathlib, time
def main(event):
    pathlib.Path({str(marker)!r}).touch()
    time.sleep(2)
    return 1"""
    body = {"name": "slow", "runtime": "python3.11", "handler": "handler.main", "code": code}
    with httpx.Client(base_url=supervisor.url, timeout=60) as client:
        assert client.post("/api/v1/functions", json=body).status_code == 201
        call = _in_background(lambda: client.post("/api/v1/functions/slow/invoke", json={}))
        supervisor.wait_for(marker.exists, "the function runs")
        assert supervisor.stop(END_SEC) == 0
        assert call().json()["body"] == 1


def _in_background(work: Callable[[], httpx.Response]) -> Callable[[], httpx.Response]:
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    return lambda: future.result(60)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("NIMBUS_PORT", "many", "NIMBUS_PORT: "),
        ("NIMBUS_SANDBOX_DRIVER", "podman", "NIMBUS_SANDBOX_DRIVER: "),
        ("NIMBUS_VAR_DIR", "/tmp/" + "x" * 110, "Set NIMBUS_VAR_DIR to a folder with a shorter path."),
    ],
)
def test_a_wrong_setting_is_named(supervisor: Supervisor, name: str, value: str, sentence: str) -> None:
    supervisor.start(**{name: value})
    assert supervisor.ends() in {1, 2}
    assert sentence in supervisor.logs()
    assert "Traceback" not in supervisor.logs()


def test_check_starts_nothing(supervisor: Supervisor) -> None:
    supervisor.start("--check", "--workers", "2")
    assert supervisor.ends() == 0
    assert "worker-2: " in supervisor.logs()
    assert not supervisor.var_dir.exists()


def test_several_web_processes_and_workers(supervisor: Supervisor) -> None:
    supervisor.start("--web", "2", "--workers", "2", "--no-beat")
    supervisor.ready()
    commands = [" ".join(child.cmdline()) for child in psutil.Process(supervisor.pid).children()]
    assert [sum(word in command for command in commands) for word in (".serve", " worker ", " beat ")] == [2, 2, 0]
    assert quick_start(supervisor) == HELLO
    assert supervisor.stop(END_SEC) == 0
