"""The real platform as processes of its own, each of which a test may kill and start again."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import httpx

from nimbus_project.config import ROOT, Config, config
from nimbus_project.supervisor import parts
from tests.services import PostgresServer, RedisServer, Server, free_port, wait_until

NO_COMPILERS = {"NIMBUS_PREWARM_GO": "0", "NIMBUS_PREWARM_WASM": "0"}
"""Without containers, a platform in a new folder compiles Go's library before it has a sandbox for Go in stock, which
takes all processors for a minute. Who is asked for Go does it then."""


@dataclass(frozen=True, slots=True)
class PlatformOptions:
    """What a test asks for, with `@pytest.mark.parametrize("platform", [PlatformOptions(…)], indirect=True)`."""

    driver: str = "process"
    database: str = "auto"
    """`postgres`, `sqlite`, or `auto`: PostgreSQL where there is one."""
    env: dict[str, str] = field(default_factory=dict)
    """More settings, by the names of their variables."""
    beat: bool = True
    images: tuple[str, ...] = ()
    """What `build_runtimes` makes besides Python and Node.js, for the Docker driver."""
    index: bool = False
    """Whether packages are fetched."""
    rust: bool = False
    """Whether Rust is compiled by the process driver: the worker's PATH then has the compiler."""


class PartServer(Server):
    """A part of the platform, started by the very command that the supervisor uses."""

    def __init__(self, part: Callable[[], parts.Part], folder: Path, env: dict[str, str]) -> None:
        self._part = part
        self._env = env
        super().__init__(part().name, folder / f"{part().name}.log")

    def start(self) -> None:
        part = self._part()
        self._spawn(list(part.command), env={**os.environ, **self._env, **part.env}, cwd=ROOT, fds=part.fds)


class Platform:
    """Web, worker, beat and Redis on a database of their own."""

    def __init__(self, folder: Path, options: PlatformOptions, database_url: str) -> None:
        self.var_dir = folder
        self.redis = RedisServer(folder)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.node = f"test-{secrets.token_hex(4)}"
        self.client = httpx.Client(base_url=self.url, timeout=60)
        metrics = folder / "metrics"
        metrics.mkdir()
        self.env = {
            "DATABASE_URL": database_url,
            "NIMBUS_REDIS_URL": self.redis.url,
            "NIMBUS_VAR_DIR": str(folder),
            "NIMBUS_NODE": self.node,
            "NIMBUS_PORT": str(self.port),
            "NIMBUS_SANDBOX_DRIVER": options.driver,
            "PROMETHEUS_MULTIPROC_DIR": str(metrics),
            "PYTHONUNBUFFERED": "1",
            **(NO_COMPILERS if options.driver == "process" else {}),
            **options.env,
        }
        self._listener: socket.socket | None = None
        threads = int(self.env.get("NIMBUS_WORKER_THREADS", Config.model_fields["worker_threads"].default))
        settings = Config(worker_threads=threads)
        self.web = PartServer(lambda: parts.web(1, self._listening(), {}), folder, self.env)
        self.worker = PartServer(lambda: parts.worker(1, secrets.randbelow(10**9), settings, {}), folder, self.env)
        self.beat = PartServer(parts.beat, folder, self.env)
        self._has_beat = options.beat

    def _listening(self) -> int:
        """Held between two web processes, as the supervisor does."""
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=2048)
        return self._listener.fileno()

    def start(self) -> None:
        """On a database that has its tables."""
        self.start_redis()
        self.worker.start()
        self.web.start()
        if self._has_beat:
            self.beat.start()
        self.wait_ready()

    def start_redis(self) -> None:
        """Empty, whatever was in the one before."""
        self.redis.start()

    def start_web(self) -> None:
        self.web.start()
        wait_until(lambda: self._status("/health/live") == 200, 60, "the web process answers")

    def start_worker(self) -> None:
        self.worker.start()
        self.wait_ready()

    def wait_ready(self, timeout: float = 90.0) -> None:
        """Until a call could be answered."""
        try:
            wait_until(self._is_ready, timeout, "the platform is ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()[-8000:]}") from None

    def _is_ready(self) -> bool:
        for server in (self.web, self.worker):
            assert server.running, f"{server.name} ended"
        return self._status("/health/ready") == 200

    def _status(self, path: str) -> int:
        try:
            return self.client.get(path, timeout=10).status_code
        except httpx.TransportError:
            return 0

    def logs(self) -> str:
        """Everything that the parts have said."""
        servers = (self.web, self.worker, self.beat, self.redis)
        return "\n".join(f"--- {server.name}\n{server.logs()}" for server in servers)

    def stop(self) -> None:
        """In the supervisor's order; every part is ended even if another one resists."""
        self.client.close()
        if self._listener is not None:
            self._listener.close()
        errors = []
        for server in (self.web, self.beat, self.worker, self.redis):
            try:
                server.stop(90)
            except AssertionError as error:
                errors.append(error)
        if errors:
            raise errors[0]


def migrate(database_url: str, folder: Path) -> None:
    """Make the tables, as the supervisor does."""
    part = PartServer(parts.migrate, folder, {"DATABASE_URL": database_url, "NIMBUS_VAR_DIR": str(folder)})
    part.start()
    assert part.process is not None
    assert part.process.wait(120) == 0, part.logs()


@cache
def _template_on(server: PostgresServer) -> str:
    """The name of a database with all tables, of which each platform's is a copy."""
    name = "platform_template"
    url = server.create_database(name)
    with tempfile.TemporaryDirectory(prefix="nimbus-migrate-") as folder:
        migrate(url, Path(folder))
    return name


@cache
def _template_in(folder: Path) -> Path:
    """As `_template_on`, a file."""
    file = folder / "template.sqlite3"
    migrate(f"sqlite:///{file}", folder)
    return file


def share_compilers(var_dir: Path) -> None:
    """What Go and C compile once per installation, their own libraries, they compile once for all of this run."""
    (var_dir / "cache").mkdir(parents=True, exist_ok=True)
    for name in ("go", "zig"):
        shared = config().var_dir.absolute() / "cache" / name
        shared.mkdir(parents=True, exist_ok=True)
        (var_dir / "cache" / name).symlink_to(shared)


@contextmanager
def open_platform(
    folder: Path, options: PlatformOptions, postgres: Callable[[], PostgresServer] | None
) -> Iterator[Platform]:
    """A running platform, gone afterwards with its database. `postgres` gives the server, where it is to be used."""
    if options.driver == "process":
        share_compilers(folder)
    name = f"platform_{secrets.token_hex(4)}"
    server = postgres() if postgres is not None else None
    if server is not None:
        url = server.create_database(name, _template_on(server))
    else:
        shutil.copy(_template_in(folder.parent), folder / "nimbus.sqlite3")
        url = f"sqlite:///{folder / 'nimbus.sqlite3'}"
    platform = Platform(folder, options, url)
    try:
        platform.start()
        yield platform
    finally:
        try:
            platform.stop()
        finally:
            if server is not None:
                server.drop_database(name)
