"""Several web processes and workers on one node: for what must hold across all of them."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
from redis import Redis

from nimbus_project.config import Config
from nimbus_project.core import fleet
from nimbus_project.core.fleet import WorkerState
from nimbus_project.supervisor import parts
from tests.platform import PartServer, Platform
from tests.services import wait_until


class Fleet:
    """A running platform, with more web processes and one more worker. `clients` has one of each web process."""

    def __init__(self, platform: Platform, webs: int) -> None:
        self.platform = platform
        self._listeners = [socket.create_server(("127.0.0.1", 0), backlog=2048) for _ in range(webs - 1)]
        self._webs = [self._web(number, each) for number, each in enumerate(self._listeners, 2)]
        settings = Config(worker_threads=8)
        unique = secrets.randbelow(10**9)
        second = PartServer(lambda: parts.worker(2, unique, settings, {}), platform.var_dir, platform.env)
        self.workers = [platform.worker, second]
        ports = [platform.port, *(each.getsockname()[1] for each in self._listeners)]
        self.bases = [f"http://127.0.0.1:{port}/api/v1" for port in ports]
        self.clients = [httpx.Client(base_url=base, timeout=60) for base in self.bases]
        self.redis = Redis.from_url(platform.redis.url)

    def _web(self, number: int, listener: socket.socket) -> PartServer:
        platform = self.platform
        return PartServer(lambda: parts.web(number, listener.fileno(), {}), platform.var_dir, platform.env)

    def start(self) -> None:
        self.workers[1].start()
        for web in self._webs:
            web.start()
        for client in self.clients:
            # The address takes connections before the process does: this waits for its first answer.
            assert client.get("/functions").status_code == 200
        wait_until(lambda: len(self.living()) == 2, 60, "both workers live")

    def stop(self) -> None:
        with ExitStack() as all_of_it:
            for listener in self._listeners:
                all_of_it.callback(listener.close)
            for server in (*self._webs, self.workers[1]):
                all_of_it.callback(server.stop)
            for client in self.clients:
                all_of_it.callback(client.close)
            all_of_it.callback(self.redis.close)

    def living(self) -> list[WorkerState]:
        return fleet.living(self.redis)

    def sandboxes(self) -> int:
        """Of all workers, as they said last."""
        return sum(int(worker.pool.get("size", 0)) for worker in self.living())

    def create(self, name: str, code: str, **more: object) -> None:
        body = {"name": name, "runtime": "python3.11", "handler": "handler.main", "code": code, "memory_mb": 128}
        answer = self.clients[0].post("/functions", json=body | more)
        assert answer.status_code == 201, answer.text


@contextmanager
def open_fleet(platform: Platform, webs: int) -> Iterator[Fleet]:
    """Started, and ended whatever happens."""
    made = Fleet(platform, webs)
    try:
        made.start()
        yield made
    finally:
        made.stop()


class Most:
    """The largest of what is seen while the block runs."""

    def __init__(self, fleet: Fleet) -> None:
        self.sandboxes = 0
        self._fleet = fleet
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.sandboxes = max(self.sandboxes, self._fleet.sandboxes())

    def __enter__(self) -> Most:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # What was there at the end is told within a beat.
        self._over.wait(fleet.BEAT_SEC * 1.5)
        self._over.set()
        self._thread.join(10)
