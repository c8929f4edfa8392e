"""The direct lane's floors, measured: frames alone, and the bare applications of `floor_app.py`."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from functions.runtimes import RUNTIMES
from functions.spec import ArtifactKind, FunctionSpec
from nimbus_project.config import Config
from nimbus_project.supervisor.ground import listen
from tests.bench.handlers import HELLO
from tests.bench.load import Load, Order, quantile, run_load
from tests.services import Server, free_port
from workers.drivers.docker import DockerDriver
from workers.frames import Kind

KINDS = ("constant", "lease", "relay")
EVENT = b'{"name": "Nimbus"}'


@dataclass(frozen=True, slots=True)
class Frames:
    """One sandbox, one thread, nothing between; µs at the median."""

    ping: float
    call: float
    """INVOKE with the event, the handler's run, RESULT."""


def frames(seconds: float) -> Frames:
    with tempfile.TemporaryDirectory(prefix="nimbus-floor-") as name:
        Path(name).chmod(0o711)
        driver = DockerDriver(Config(var_dir=Path(name)), None)
        try:
            return _frames(driver, seconds)
        finally:
            driver.close()


def hello_spec() -> FunctionSpec:
    return FunctionSpec(
        function_id="floor",
        function_name="floor",
        version=1,
        runtime="python3.11",
        handler="handler.main",
        memory_mb=256,
        timeout_sec=30,
        artifact=HELLO.encode(),
        artifact_sha256="",
        artifact_kind=ArtifactKind.SOURCE,
    )


def invoke_head() -> dict[str, object]:
    return {"id": "1", "request_id": "1", "remaining_ms": 30000, "attempt": 1, "alias": "", "trigger_type": "http"}


def _frames(driver: DockerDriver, seconds: float) -> Frames:
    sandbox = driver.create(RUNTIMES["python3.11"], memory_mb=256, deadline=time.monotonic() + 60)
    assert sandbox.load(hello_spec(), time.monotonic() + 30) is None

    def p50(kind: Kind, head: dict[str, object], body: bytes) -> float:
        took = []
        until = time.perf_counter() + seconds / 2
        while (began := time.perf_counter()) < until:
            sandbox.stream.send(kind, head, body, time.monotonic() + 30)
            sandbox.stream.receive(time.monotonic() + 30)
            took.append((time.perf_counter() - began) * 1e6)
        return quantile(took, 0.5)

    return Frames(p50(Kind.PING, {}, b""), p50(Kind.INVOKE, invoke_head(), EVENT))


class FloorServer(Server):
    """The application of one kind, by uvicorn with the options of Nimbus's web processes, but without their short way
    (`nimbus_project/express_protocol.py`): what a bare ASGI application costs."""

    def __init__(self, kind: str, folder: Path) -> None:
        super().__init__(f"floor-{kind}", folder / f"floor-{kind}.log")
        self.port = free_port()
        self._env = dict(os.environ) | {
            "BENCH_FLOOR": kind,
            "BENCH_FLOOR_SOCKET": str(folder / "floor.sock"),
            "NIMBUS_VAR_DIR": str(folder),
        }
        self._worker = FloorWorker(folder, self._env) if kind == "relay" else None

    def start(self) -> None:
        if self._worker is not None:
            self._worker.start()
        self._listener = listen("127.0.0.1", self.port)
        self._listener.set_inheritable(True)
        command = [sys.executable, "-m", "uvicorn", "tests.bench.floor_app:application"]
        command += ["--fd", str(self._listener.fileno()), "--loop", "uvloop", "--http", "httptools", "--lifespan", "on"]
        command += ["--no-access-log", "--no-proxy-headers", "--log-level", "warning"]
        self._spawn(command, env=self._env, fds=(self._listener.fileno(),))
        self.wait_for(self._answers, "the floor answers")

    def _answers(self) -> bool:
        order = Order(port=self.port, path="/", callers=1, calls=1, seconds=5)
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as client:
            client.sendall(next(order.requests()))
            return client.recv(64).startswith(b"HTTP/1.1 200")

    def load(self, *, callers: int, seconds: float, pause: float = 0.0) -> Load:
        """A burst of calls, after one that does not count."""
        warm_up = Order(port=self.port, path="/", callers=callers, seconds=min(1.0, seconds))
        assert run_load(warm_up).errors == 0, self.logs()
        return run_load(Order(port=self.port, path="/", callers=callers, seconds=seconds, pause=pause))

    def close(self) -> None:
        self._listener.close()
        try:
            self.stop()
        finally:
            if self._worker is not None:
                self._worker.close()


class FloorWorker(Server):
    """The other process of `relay`."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        super().__init__("floor-worker", folder / "floor-worker.log")
        self._env = env
        self._socket = Path(env["BENCH_FLOOR_SOCKET"])

    def start(self) -> None:
        self._spawn([sys.executable, "-m", "tests.bench.floor_app"], env=self._env)
        self.wait_for(self._socket.exists, "the floor's worker listens")

    def close(self) -> None:
        code = self.stop()
        self._socket.unlink(missing_ok=True)
        assert code == 0, f"{self.name} ended with {code}:\n{self.logs()}"


@contextmanager
def floor(kind: str) -> Iterator[FloorServer]:
    """A running floor; its sandboxes go with it."""
    with tempfile.TemporaryDirectory(prefix="nimbus-floor-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        server = FloorServer(kind, folder)
        try:
            server.start()
            yield server
        finally:
            server.close()
