"""The platform under measurement: real PostgreSQL, Redis, web, worker and beat, each a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, cast

import httpx
import orjson
import psycopg
import redis

from nimbus_project.config import ROOT, Config
from nimbus_project.core.fleet import living
from nimbus_project.core.redis import WORKERS
from nimbus_project.supervisor import parts
from nimbus_project.supervisor.ground import listen
from nimbus_project.supervisor.parts import Part
from nimbus_project.supervisor.tether import tether
from tests.bench import consumption
from tests.bench.load import Load, Order, run_load
from tests.services import PostgresServer, RedisServer, Server, free_port, wait_until

READY_SEC = 90.0
WARM_UP_SEC = 1.5
SETTLE_SEC = 30.0
CALM_SEC = 60.0
INVOKE = "/api/v1/functions/{}/invoke"


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


class Stack:
    """Servers and parts, started and stopped together. API keys are required, and there is one."""

    def __init__(self, folder: Path, settings: dict[str, str], *, web: int = 1, workers: int = 1) -> None:
        self.folder = folder
        self.port = free_port()
        for name in ("redis", "var", "metrics"):
            (folder / name).mkdir()
        self.redis = RedisServer(folder / "redis")
        self.postgres = PostgresServer(folder / "pg")
        self.env = dict(os.environ) | {
            "NIMBUS_VAR_DIR": str(folder / "var"),
            "NIMBUS_REDIS_URL": self.redis.url,
            "DATABASE_URL": self.postgres.url("nimbus"),
            "NIMBUS_SANDBOX_DRIVER": "docker",
            "NIMBUS_PORT": str(self.port),
            "NIMBUS_REQUIRE_KEYS": "true",
            "NIMBUS_LOG_LEVEL": "WARNING",
            "PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics"),
        }
        self.env |= settings
        self._counts = (web, workers)
        self.processes: list[Process] = []
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}/api/v1", timeout=120)
        self.answers: Counter[str] = Counter()
        """Calls that were answered or accepted, by function."""

    def start(self) -> None:
        self.redis.start()
        self.postgres.start()
        self.postgres.create_database("nimbus")
        migrate = Process(parts.migrate(), self.env, self.folder)
        migrate.start()
        assert migrate.process is not None
        assert migrate.process.wait(120) == 0, migrate.logs()
        self.client.headers["Authorization"] = f"Bearer {self._make_key()}"
        self._listener = listen("127.0.0.1", self.port)
        self._listener.set_inheritable(True)
        self._start_parts()
        wait_until(self._ready, READY_SEC, "the platform is ready")

    def _make_key(self) -> str:
        command = [sys.executable, str(ROOT / "manage.py"), "createapikey", "--user", "bench", "--role", "admin"]
        return subprocess.run(command, env=self.env, check=True, capture_output=True, text=True).stdout.strip()

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

    # -- calls

    def create(self, name: str, code: str, *, runtime: str = "python3.11", **more: object) -> None:
        body = {"name": name, "runtime": runtime, "handler": "handler.main", "code": code} | more
        answer = self.client.post("/functions", json=body)
        assert answer.status_code == 201, answer.text

    def delete(self, name: str) -> None:
        """With its sandboxes: a full pool keeps no stock. Its records stay."""
        answer = self.client.delete(f"/functions/{name}")
        assert answer.status_code in (200, 204), answer.text

    def clear(self) -> None:
        """Delete every function and wait for a calm platform."""
        while functions := self.client.get("/functions", params={"limit": 100}).json()["functions"]:
            for function in functions:
                self.delete(function["id"])
        self.wait_calm()

    def invoke(self, name: str) -> httpx.Response:
        self.answers[name] += 1
        return self.client.post(f"/functions/{name}/invoke", json={"name": "Nimbus"})

    def load(
        self,
        function: str = "hello",
        *,
        callers: int,
        seconds: float,
        calls: int = 0,
        pause: float = 0.0,
        path: str = INVOKE,
        body: str | None = None,
        secret: str | None = None,
        warm_up: bool = True,
    ) -> Load:
        """A burst of calls, after a shorter one that does not count and the boots that it has caused. With a `secret`
        (empty: none) they come from strangers, who have no key and sign instead."""
        order = Order(
            port=self.port,
            path=path.format(function),
            callers=callers,
            seconds=seconds,
            calls=calls,
            pause=pause,
            headers=(f"Authorization: {self.client.headers['Authorization']}",),
        )
        if body is not None:
            order = replace(order, body=body)
        if secret is not None:
            order = replace(order, secret=secret, headers=())
        if warm_up:
            before = run_load(replace(order, seconds=min(WARM_UP_SEC, seconds), pause=0.0))
            assert before.errors == 0, before.statuses
            self.answers[function] += before.count
            self.wait_calm(full=False)
        load = run_load(order)
        self.answers[function] += sum(n for status, n in load.statuses.items() if status.startswith("2"))
        return load

    def first_call(self, function: str) -> tuple[float, dict[str, Any]]:
        """One call on a connection that is there already: ms until its answer is whole, and the answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("GET", "/health/live")
        connection.getresponse().read()
        headers = {"Authorization": self.client.headers["Authorization"], "Content-Type": "application/json"}
        began = time.perf_counter()
        connection.request("POST", INVOKE.format(function), b'{"name": "Nimbus"}', headers)
        response = connection.getresponse()
        answer = response.read()
        took = (time.perf_counter() - began) * 1000
        connection.close()
        assert response.status == 200, answer
        self.answers[function] += 1
        return took, orjson.loads(answer)

    # -- what the platform says of itself

    def rows(self) -> Counter[str]:
        """Records in the database, by function."""
        with psycopg.connect(self.postgres.url("nimbus")) as connection:
            told = connection.execute("SELECT function_name, count(*) FROM invocations_invocation GROUP BY 1")
            return Counter(dict(told.fetchall()))

    def settle(self) -> Counter[str]:
        """The rows once there is one of each answer, or those there are after a while."""
        until = time.monotonic() + SETTLE_SEC
        while True:
            time.sleep(0.3)
            rows = self.rows()
            if rows == self.answers or time.monotonic() > until:
                return rows

    def pool(self) -> dict[str, Any]:
        """The worker's pool as its last heartbeat tells it."""
        states = living(self._redis())
        return states[0].pool if states else {}

    def wait_calm(self, *, full: bool = True) -> None:
        """Until nothing boots or is removed, for a container that does takes a core for itself; and until the stock is
        full, for which a pool full of warm sandboxes has no room."""
        since = time.time()
        try:
            wait_until(lambda: self._is_calm(since, full), CALM_SEC, "a full stock, and nothing booting")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.pool()}") from None

    def _is_calm(self, since: float, full: bool) -> bool:
        beats = cast("list[tuple[bytes, float]]", self._redis().zrange(WORKERS, 0, -1, withscores=True))
        if min((score for _, score in beats), default=0.0) < since:
            return False
        pools = [state.pool for state in living(self._redis())]
        return all(_is_still(pool) and (not full or _is_full(pool)) for pool in pools)

    def _redis(self) -> redis.Redis:
        # Bounded, for a server that was stopped in its tracks answers nothing, and no condition is asked meanwhile.
        return redis.Redis.from_url(self.redis.url, socket_timeout=5, socket_connect_timeout=5)

    # -- what it uses

    def pids(self) -> dict[str, int]:
        """The platform's processes by name; PostgreSQL's and the web server's own children are not named."""
        return {part.name: part.pid for part in [*self.processes, self.redis, self.postgres]}

    def sandbox_pids(self) -> list[int]:
        """The first process of each container."""
        label = f"label=nimbus.run={(self.folder / 'var').resolve() / 'run'}"
        listed = ["docker", "ps", "-q", "--filter", label]
        ids = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()
        if not ids:
            return []
        told = ["docker", "inspect", "-f", "{{.State.Pid}}", *ids]
        return [int(pid) for pid in subprocess.run(told, check=True, capture_output=True, text=True).stdout.split()]

    def cpu_sec(self) -> dict[str, float]:
        """CPU time so far, by process with its children, and of all sandboxes together."""
        told = {name: consumption.cpu_sec(pid) for name, pid in self.pids().items()}
        return told | {"sandboxes": sum(map(consumption.cpu_sec, self.sandbox_pids()))}

    def checkpoint(self) -> None:
        with psycopg.connect(self.postgres.url("nimbus"), autocommit=True) as connection:
            connection.execute("CHECKPOINT")

    def own_mb(self) -> dict[str, float]:
        """Memory by process, each child and each sandbox for itself; PostgreSQL's by what they are to it."""
        told = {}
        backends = self._backends()
        for name, pid in self.pids().items():
            told[name] = consumption.own_mb(pid)
            children = backends if name == "postgres" else dict.fromkeys(consumption.family(pid)[1:], "")
            for one, kind in children.items():
                # It may have ended since it was listed.
                with suppress(FileNotFoundError):
                    told[f"{name}/{kind} {one}" if kind else f"{name}/{one}"] = consumption.own_mb(one)
        for pid in self.sandbox_pids():
            told[f"sandbox/{pid}"] = consumption.own_mb(pid)
        return told

    def _backends(self) -> dict[int, str]:
        """PostgreSQL's processes: their kinds by pid, without the one that is asked."""
        with psycopg.connect(self.postgres.url("nimbus")) as connection:
            asked = "SELECT pid, backend_type FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            return dict(connection.execute(asked).fetchall())


def _is_still(pool: dict[str, Any]) -> bool:
    at_rest = pool["warm"] + sum(pool["prewarmed"].values())
    return bool(pool["size"] == at_rest and not pool["booting"] and not pool["waiting"])


def _is_full(pool: dict[str, Any]) -> bool:
    settings = Config()
    stock = {
        "python3.11": settings.prewarm_python,
        "nodejs20": settings.prewarm_node,
        "go1.24": settings.prewarm_go,
        "wasm": settings.prewarm_wasm,
    }
    return all(pool["prewarmed"].get(name, 0) >= count for name, count in stock.items())


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
