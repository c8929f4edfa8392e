"""The platform under measurement: real PostgreSQL, Redis, web, worker and beat, each a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from nimbus_project.config import Config
from nimbus_project.supervisor import parts
from nimbus_project.supervisor.parts import Part
from nimbus_project.supervisor.tether import tether
from tests.services import PostgresServer, RedisServer, Server, free_port, wait_until

READY_SEC = 90.0


class Process(Server):
    """One part of the platform."""

    def __init__(self, part: Part, env: dict[str, str], folder: Path) -> None:
        super().__init__(part.name, folder / f"{part.name}.log")
        self._part = part
        self._environment = env | part.env

    def start(self) -> None:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self._part.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=tether(signal.SIGKILL),
                pass_fds=self._part.fds,
                env=self._environment,
            )

    def rss_mb(self) -> float:
        """Resident memory of it and its children."""
        own = psutil.Process(self.pid)
        return sum(p.memory_info().rss for p in [own, *own.children(recursive=True)]) / 2**20

    def cpu_sec(self) -> float:
        """User and system time of it and its children so far."""
        own = psutil.Process(self.pid)
        return sum(t.cpu_times().user + t.cpu_times().system for t in [own, *own.children(recursive=True)])


class Stack:
    """Servers and parts, started and stopped together."""

    def __init__(self, folder: Path, settings: dict[str, str], *, web: int = 1, workers: int = 1) -> None:
        self.folder = folder
        self.port = free_port()
        for name in ("redis", "var"):
            (folder / name).mkdir()
        self.redis = RedisServer(folder / "redis")
        self.postgres = PostgresServer(folder / "pg")
        self.env = dict(os.environ) | {
            "NIMBUS_VAR_DIR": str(folder / "var"),
            "NIMBUS_REDIS_URL": self.redis.url,
            "DATABASE_URL": self.postgres.url("nimbus"),
            "NIMBUS_SANDBOX_DRIVER": "docker",
            "NIMBUS_PORT": str(self.port),
            "NIMBUS_LOG_LEVEL": "WARNING",
        }
        self.env |= settings
        self._counts = (web, workers)
        self.processes: list[Process] = []
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}/api/v1", timeout=120)

    def start(self) -> None:
        self.redis.start()
        self.postgres.start()
        self.postgres.create_database("nimbus")
        migrate = Process(parts.migrate(), self.env, self.folder)
        migrate.start()
        assert migrate.process is not None
        assert migrate.process.wait(120) == 0, migrate.logs()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._listener.set_inheritable(True)
        self._start_parts()
        wait_until(self._ready, READY_SEC, "the platform is ready")

    def _start_parts(self) -> None:
        web, workers = self._counts
        settings = Config()
        made = [parts.web(n, self._listener.fileno(), {}) for n in range(web)]
        made += [parts.worker(n, os.getpid(), settings, {}) for n in range(workers)]
        self.processes = [Process(part, self.env, self.folder) for part in [*made, parts.beat()]]
        for process in self.processes:
            process.start()

    def _ready(self) -> bool:
        for process in self.processes:
            assert process.running, f"{process.name} ended:\n{process.logs()[-3000:]}"
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/health/ready", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        for process in self.processes:
            process.stop()
        self._listener.close()
        self.client.close()
        self.postgres.stop()
        self.redis.stop()

    def create(self, name: str, code: str, *, runtime: str = "python3.11", **more: object) -> None:
        body = {"name": name, "runtime": runtime, "handler": "handler.main", "code": code} | more
        answer = self.client.post("/functions", json=body)
        assert answer.status_code == 201, answer.text

    def invoke(self, name: str) -> httpx.Response:
        return self.client.post(f"/functions/{name}/invoke", json={"name": "Nimbus"})

    def pool(self) -> dict[str, Any]:
        """The worker's pool as its last heartbeat tells it."""
        import orjson
        import redis

        client = redis.Redis.from_url(self.redis.url)
        found = [client.get(key) for key in client.scan_iter("nimbus:worker:*")]
        states = [orjson.loads(value) for value in found if isinstance(value, bytes)]
        pool: dict[str, Any] = states[0]["pool"] if states else {}
        return pool


@contextmanager
def running_stack(settings: dict[str, str] | None = None, *, web: int = 1, workers: int = 1) -> Iterator[Stack]:
    """A started stack, gone afterwards, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="nimbus-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        stack = Stack(folder, settings or {}, web=web, workers=workers)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()
