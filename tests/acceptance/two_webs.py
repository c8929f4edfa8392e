"""Two web processes with ports of their own, a worker and a beat on one database: for what must hold across them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from nimbus_project.config import ROOT
from tests.services import RedisServer, Server, free_port

_CELERY = [sys.executable, "-m", "celery", "--quiet", "-A", "workers.celery"]
_WORKER = [*_CELERY, "worker", "--pool", "threads", "-c", "16", "--without-gossip", "--without-mingle", "-l", "WARNING"]
_BEAT = [*_CELERY, "beat", "--pidfile=", "-l", "WARNING"]
_BEAT += ["--scheduler", "django_celery_beat.schedulers:DatabaseScheduler"]


class _Program(Server):
    """One process of the platform."""

    def __init__(self, name: str, folder: Path, command: list[str], env: dict[str, str]) -> None:
        super().__init__(name, folder / f"{name}.log")
        self._command = command
        self._env = env

    def start(self) -> None:
        self._spawn(self._command, env=self._env, death=signal.SIGTERM, cwd=ROOT)


@dataclass(frozen=True)
class Answer:
    """One call's end, on this machine's monotonic clock (seconds)."""

    began: float
    ended: float
    status: int
    version: int | None
    text: str
    """Of the body when the call did not succeed."""


class TwoWebs:
    """What the tests drive. `first` and `second` are HTTP clients of the two web processes."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._redis = RedisServer(folder)
        env = {name: value for name, value in os.environ.items() if not name.startswith("NIMBUS_")} | {
            "DATABASE_URL": database_url or f"sqlite:///{folder / 'nimbus.sqlite3'}",
            "NIMBUS_REDIS_URL": self._redis.url,
            "NIMBUS_VAR_DIR": str(folder / "var"),
            "NIMBUS_SANDBOX_DRIVER": "process",
            "NIMBUS_PREWARM_NODE": "0",
            "NIMBUS_DRAIN_GRACE_SEC": "2",
            "PYTHONWARNINGS": "ignore",
        }
        self.migration = _Program("migrate", folder, [sys.executable, "manage.py", "migrate", "-v", "0"], env)
        ports = (free_port(), free_port())
        self._webs = [_Program(f"web-{port}", folder, _web(port), env) for port in ports]
        self.worker = _Program("worker", folder, _WORKER, env)
        self.beat = _Program("beat", folder, _BEAT, env)
        self.bases = [f"http://127.0.0.1:{port}/api/v1" for port in ports]
        self.first, self.second = (httpx.Client(base_url=base, timeout=60) for base in self.bases)

    def start(self) -> None:
        self._redis.start()
        self.migration.start()
        assert self.migration.process is not None
        assert self.migration.process.wait(120) == 0, self.migration.logs()
        for program in (*self._webs, self.worker, self.beat):
            program.start()
        for web, base in zip(self._webs, self.bases, strict=True):
            ready = base.replace("/api/v1", "/health/ready")
            web.wait_for(lambda ready=ready: _is_ready(ready), "the platform is ready")  # type: ignore[misc]

    def stop(self) -> None:
        for client in (self.first, self.second):
            client.close()
        for program in (*self._webs, self.beat, self.worker, self._redis):
            program.stop()

    def create(self, name: str, *sources: str) -> None:
        """A function with a version per source; all of them called once."""
        body = {"name": name, "runtime": "python3.11", "handler": "handler.main", "code": sources[0]}
        _ok(self.first.post("/functions", json=body))
        for source in sources[1:]:
            _ok(self.first.put(f"/functions/{name}", json={"code": source}))
        for number in range(1, len(sources) + 1):
            _ok(self.first.post(f"/functions/{name}/invoke?version={number}", json={"n": 99}))

    def alias(self, name: str, *pairs: tuple[int, int], alias: str = "prod") -> None:
        """Make it or change it, through the first web process."""
        sides = [{"version": version, "weight": weight} for version, weight in pairs]
        routing = {"routing_config": {"weights": sides}}
        answer = self.first.put(f"/functions/{name}/aliases/{alias}", json=routing)
        if answer.status_code == 404:
            answer = self.first.post(f"/functions/{name}/aliases", json={"name": alias, **routing})
        _ok(answer)

    def rollout(self, name: str) -> Any:
        return _ok(self.first.get(f"/functions/{name}/aliases/prod/rollout")).json()

    def load(self, path: str, rate: float, until: Callable[[float], bool], limit_sec: float = 90.0) -> list[Answer]:
        """`rate` calls a second, whatever the answers take, over both web processes in turn; the event is the call's
        number. Ends when `until(seconds since the start)` is true: it runs in a thread of its own after each 50 ms."""
        return asyncio.run(_load(self.bases, path, rate, until, limit_sec))


def _web(port: int) -> list[str]:
    command = [sys.executable, "-m", "uvicorn", "nimbus_project.asgi:application", "--port", str(port)]
    command += ["--loop", "uvloop", "--http", "httptools", "--lifespan", "on", "--no-access-log"]
    return [*command, "--log-level", "warning", "--timeout-graceful-shutdown", "3"]


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _ok(answer: httpx.Response) -> httpx.Response:
    assert answer.is_success, f"{answer.status_code}: {answer.text}"
    return answer


async def call(client: httpx.AsyncClient, path: str, number: int, **headers: str) -> Answer:
    """One call; a refused connection counts as status 0."""
    began = time.monotonic()
    try:
        got = await client.post(path, json={"n": number}, headers=headers)
    except httpx.HTTPError as error:
        return Answer(began, time.monotonic(), 0, None, repr(error))
    text = "" if got.status_code == 200 else got.text
    return Answer(began, time.monotonic(), got.status_code, got.json().get("version"), text)


async def _load(
    bases: list[str], path: str, rate: float, until: Callable[[float], bool], limit_sec: float
) -> list[Answer]:
    limits = httpx.Limits(max_connections=400, max_keepalive_connections=400)
    clients = [httpx.AsyncClient(base_url=base, timeout=60, limits=limits) for base in bases]
    began, calls = time.monotonic(), list[asyncio.Task[Answer]]()
    watch = asyncio.create_task(_watch(until, began, limit_sec))
    while not watch.done():
        number = len(calls)
        calls.append(asyncio.create_task(call(clients[number % len(clients)], path, number)))
        await asyncio.sleep(max(0.0, began + len(calls) / rate - time.monotonic()))
    await watch
    answers = await asyncio.gather(*calls)
    for client in clients:
        await client.aclose()
    return list(answers)


async def _watch(until: Callable[[float], bool], began: float, limit_sec: float) -> None:
    while not await asyncio.to_thread(until, time.monotonic() - began):
        assert time.monotonic() - began < limit_sec, f"the load went on for {limit_sec} s in vain"
        await asyncio.sleep(0.05)


@contextmanager
def running(folder: Path, database_url: str) -> Iterator[TwoWebs]:
    """Started, and ended whatever happens."""
    webs = TwoWebs(folder, database_url)
    try:
        webs.start()
        yield webs
    finally:
        webs.stop()
