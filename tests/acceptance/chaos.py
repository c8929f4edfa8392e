"""The platform on a PostgreSQL of its own with two workers, and somebody who kills its parts at random."""

from __future__ import annotations

import random
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from nimbus_project.config import Config
from nimbus_project.supervisor import parts
from tests.platform import PartServer, Platform, PlatformOptions, migrate
from tests.services import PostgresServer, Server, wait_until

SETTINGS = {"NIMBUS_WORKER_THREADS": "12", "NIMBUS_LEASE_SEC": "4", "NIMBUS_PREWARM_NODE": "0"}


class World:
    """All parts, each of which can be killed and started again by its name."""

    def __init__(self, folder: Path) -> None:
        self.postgres = PostgresServer(folder / "pg")
        self.postgres.start()
        url = self.postgres.create_database("nimbus")
        migrate(url, folder)
        self.platform = Platform(folder, PlatformOptions(env=SETTINGS), url)
        settings = Config(worker_threads=int(SETTINGS["NIMBUS_WORKER_THREADS"]))
        self._second = PartServer(
            lambda: parts.worker(2, secrets.randbelow(10**9), settings, {}), folder, self.platform.env
        )
        one = self.platform
        self.parts: dict[str, Server] = {
            "web": one.web,
            "worker": one.worker,
            "second worker": self._second,
            "beat": one.beat,
            "redis": one.redis,
            "postgres": self.postgres,
        }

    def start(self) -> None:
        self.platform.start()
        self._second.start()

    def kill(self, name: str) -> None:
        """-9, and for PostgreSQL its children with it: left alone they would keep its memory and its new start out."""
        part = self.parts[name]
        children = psutil.Process(part.pid).children(recursive=True) if name == "postgres" and part.running else []
        part.kill9()
        for child in children:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                pass
        psutil.wait_procs(children, timeout=10)

    def start_again(self, name: str) -> None:
        self.parts[name].start()  # type: ignore[attr-defined]

    def stop(self) -> None:
        try:
            self._second.stop(90)
        finally:
            try:
                self.platform.stop()
            finally:
                self.postgres.stop()


@contextmanager
def running_world(folder: Path) -> Iterator[World]:
    world = World(folder)
    try:
        world.start()
        yield world
    finally:
        world.stop()


class Killer:
    """Kills one part after the other, each for a moment, as its seed says. In the thread that has made the world: Linux
    ends a tethered process with the thread that has started it (prctl(2), PR_SET_PDEATHSIG)."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)
        self._order: list[str] = []
        self.killed: list[str] = []

    def strike(self) -> None:
        # Each once before any is killed again: chance decides on the order.
        self._order = self._order or self._chance.sample(sorted(self._world.parts), len(self._world.parts))
        name = self._order.pop()
        time.sleep(self._chance.uniform(0.3, 2.0))
        assert self._world.parts[name].running, f"{name} has ended by itself:\n{self._world.parts[name].last_words()}"
        self._world.kill(name)
        self.killed.append(name)
        time.sleep(self._chance.uniform(0.1, 1.5))
        self._world.start_again(name)


class Ear:
    """Hears each run begin, by a datagram of the function itself: token, attempt, Unix time."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port: int = self._socket.getsockname()[1]
        self.begun: list[tuple[int, int, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="ear", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                token, attempt, at = self._socket.recv(100).split()
            except TimeoutError:
                continue
            self.begun.append((int(token), int(attempt), float(at)))

    def close(self) -> None:
        self._over.set()
        self._thread.join(5)
        self._socket.close()


def settled(world: World) -> None:
    """Every part runs and the platform answers."""
    wait_until(lambda: all(part.running for part in world.parts.values()), 60, "every part to run")
    world.platform.wait_ready()
