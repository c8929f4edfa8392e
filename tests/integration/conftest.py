"""The control plane under test: a clean database and Redis, the real entrance, a real worker process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from nimbus_project.config import ROOT, config
from tests.integration.plane import Api, clean, living_workers, wait_until
from tests.services import RedisServer, free_port


@pytest.fixture
def transactional_db(
    redis_server: RedisServer, django_db_setup: None, django_db_blocker: pytest.FixtureRequest
) -> Iterator[None]:
    """Real commits, visible to threads and processes, on empty tables of functions and invocations. In place of
    pytest-django's own, which empties every table there is after each test: a quarter of a second on PostgreSQL."""
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        clean()
        yield
        clean()


@pytest.fixture(scope="session")
def entrance(
    redis_server: RedisServer, django_db_setup: None, django_db_blocker: pytest.FixtureRequest
) -> Iterator[Api]:
    """The application that `nimbus_project.asgi` exports, started, in an event loop of its own."""
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        from nimbus_project.asgi import application

        api = Api(application)
        try:
            yield api
        finally:
            api.close()


@pytest.fixture
def api(entrance: Api, transactional_db: None) -> Api:
    return entrance


@pytest.fixture(scope="session")
def worker_process(
    redis_server: RedisServer,
    django_db_setup: None,
    django_db_blocker: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Any]:
    """A worker as an operator starts it, with the process driver, on the database of the tests. Those that use it run
    after all others (tests/conftest.py): elsewhere nobody is to take what tests put into the queue."""
    folder = tmp_path_factory.mktemp("worker")
    environment = os.environ | {
        "DATABASE_URL": _test_database_url(),
        "NIMBUS_REDIS_URL": config().redis,
        "NIMBUS_VAR_DIR": str(folder),
        "NIMBUS_SANDBOX_DRIVER": "process",
        "NIMBUS_PREWARM_PYTHON": "0",
        "NIMBUS_PREWARM_NODE": "0",
        "NIMBUS_PREWARM_GO": "0",
        "NIMBUS_PREWARM_WASM": "0",
        "NIMBUS_DRAIN_GRACE_SEC": "1",
    }
    command = [sys.executable, "-m", "celery", "-A", "workers.celery", "worker", "--pool=threads", "--concurrency=8"]
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--loglevel=WARNING"], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield wait_until(lambda: living_workers() or _ended(process, output), "a worker to live", within_sec=60)[0]
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()


def _ended(process: subprocess.Popen[bytes], output: Path) -> list[Any]:
    if process.poll() is None:
        return []
    pytest.fail(f"the worker ended with {process.returncode}: {output.read_text()[-2000:]}")


@pytest.fixture
def worker(worker_process: Any, transactional_db: None) -> None:
    """A worker is there, and Redis knows it again since it was emptied."""
    from nimbus_project.core import fleet, redis

    fleet.announce(redis.connection(), worker_process)


def _test_database_url() -> str:
    from django.db import connection

    name = str(connection.settings_dict["NAME"])
    url = urlsplit(config().database)
    if url.scheme == "sqlite":
        return f"sqlite:///{name}"
    return urlunsplit(url._replace(path=f"/{name}"))


@pytest.fixture
def locked_entrance(
    redis_server: RedisServer, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Api]:
    """An entrance of its own that requires keys, on tables that are emptied afterwards."""
    yield from _entrance_with(monkeypatch, NIMBUS_REQUIRE_KEYS="true")


@pytest.fixture
def limited_entrance(
    redis_server: RedisServer, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Api]:
    """As `locked_entrance`, with 10 requests a minute for a key and 25 for an address."""
    limits = {"NIMBUS_RATE_LIMIT_PER_MIN": "10", "NIMBUS_RATE_LIMIT_ADDRESS_PER_MIN": "25"}
    yield from _entrance_with(monkeypatch, NIMBUS_REQUIRE_KEYS="true", **limits)


def _entrance_with(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Iterator[Api]:
    from accounts import directory as known_keys
    from functions import directory
    from nimbus_project.asgi import Entrance, django_application

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    config.cache_clear()
    known_keys.forget_all()
    directory.forget_all()
    api = Api(Entrance(django_application))
    try:
        yield api
    finally:
        api.close()
        for name in environment:
            monkeypatch.delenv(name)
        config.cache_clear()


@pytest.fixture
def second_process(locked_entrance: Api, tmp_path: Path) -> Iterator[str]:
    """The address of another web process on the same database and Redis, which requires keys too."""
    with web_process(tmp_path, NIMBUS_REQUIRE_KEYS="true") as address:
        yield address


@contextmanager
def web_process(folder: Path, **environment: str) -> Iterator[str]:
    """A web process on the database of the tests; its address."""
    port = free_port()
    output = folder / "web"
    command = [sys.executable, "-m", "uvicorn", "nimbus_project.asgi:application", "--port", str(port)]
    values = os.environ | {"DATABASE_URL": _test_database_url(), "NIMBUS_REDIS_URL": config().redis} | environment
    with output.open("wb") as file:
        process = subprocess.Popen([*command, "--no-proxy-headers"], cwd=ROOT, env=values, stdout=file, stderr=file)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: _answers(address) or _ended(process, output), "the second process", within_sec=90)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health").status_code == 200
    except httpx.TransportError:
        return False
