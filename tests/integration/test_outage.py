"""The database away and back again: callers are told to come back, in the one error shape, and then are served."""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from django.db import connection

from tests.integration.accounts import make_key
from tests.integration.conftest import web_process
from tests.integration.plane import ECHO, refusal, wait_until
from tests.requirements import require
from tests.services import PostgresServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

_SOCKET = ".s.PGSQL.5432"


class Gate:
    """Stands between a web process and PostgreSQL, and shuts."""

    def __init__(self, server: PostgresServer) -> None:
        self._behind = str(server.folder / _SOCKET)
        # Short: a socket's path has 108 bytes. Passable: the server runs as another user, the web process as this one.
        self.folder = Path(tempfile.mkdtemp(prefix="gate-"))
        self._fronts: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.open()

    def url(self, database: str) -> str:
        return f"postgresql://nimbus@{quote(str(self.folder), safe='')}/{database}"

    def open(self) -> None:
        (self.folder / _SOCKET).unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.folder / _SOCKET))
        self._listener.listen(64)
        self._start(self._accept, self._listener)

    def shut(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            # Wakes the thread in accept().
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for front in list(self._fronts):
            with contextlib.suppress(OSError):
                front.shutdown(socket.SHUT_RDWR)

    def remove(self) -> None:
        self.shut()
        for thread in self._threads:
            thread.join(10)
        shutil.rmtree(self.folder)

    def _start(self, work: Callable[[socket.socket], None], end: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(end,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                front, _ = listener.accept()
            except OSError:
                return
            self._start(self._carry, front)

    def _carry(self, front: socket.socket) -> None:
        """Both ways, until one end has hung up."""
        with front, socket.socket(socket.AF_UNIX) as back:
            self._fronts.add(front)
            back.connect(self._behind)
            with contextlib.suppress(OSError):
                while True:
                    readable, _, _ = select.select([front, back], [], [])
                    for one in readable:
                        if not (data := one.recv(65536)):
                            return
                        (back if one is front else front).sendall(data)
            self._fronts.discard(front)


@pytest.fixture
def gate(postgres_server: PostgresServer) -> Iterator[Gate]:
    if connection.vendor != "postgresql":
        require("postgres", "the tests run on SQLite")
    gate = Gate(postgres_server)
    try:
        yield gate
    finally:
        gate.remove()


@pytest.fixture
def web(gate: Gate, tmp_path: Path) -> Iterator[httpx.Client]:
    """A web process in embedded mode behind the gate."""
    with web_process(tmp_path, DATABASE_URL=gate.url(str(connection.settings_dict["NAME"]))) as address:
        with httpx.Client(base_url=address, timeout=60) as client:
            yield client


NEW = {"name": "new", "runtime": "python3.11", "handler": "handler.main", "code": ECHO}
CALLS = [
    ("GET", "/api/v1/functions", None),
    ("POST", "/api/v1/functions", NEW),
    ("GET", "/api/v1/functions/hello", None),
    ("PUT", "/api/v1/functions/hello", {"timeout_sec": 5}),
    ("DELETE", "/api/v1/functions/hello", None),
    ("GET", "/api/v1/functions/hello/versions", None),
    ("POST", "/api/v1/functions/hello/versions", {"description": "x"}),
    ("GET", "/api/v1/invocations", None),
    ("GET", "/api/v1/quota", None),
    ("GET", "/api/v1/stats", None),
    ("GET", "/api/v1/audit", None),
    # Answered before Django's handler.
    ("POST", "/api/v1/functions/hello/async", {}),
    ("POST", "/api/v1/functions/unknown/invoke", {}),
    ("GET", "/api/v1/functions/unknown/logs/stream", None),
    ("GET", "/api/v1/invocations/unknown/stream", None),
]


def test_an_outage_is_a_503_that_says_when_to_come_back(web: httpx.Client, gate: Gate) -> None:
    key = make_key("ann", "developer")
    assert web.post("/api/v1/functions", json=NEW | {"name": "hello"}).status_code == 201
    assert web.post("/api/v1/functions/hello/async?delay_sec=3600", json={}).status_code == 202
    gate.shut()

    # Who is asking can't be known either; nobody is let in or turned away for that.
    session = {"Cookie": "sessionid=abcdefghijklmnopqrstuvwxyz123456"}
    calls: list[tuple[str, str, dict[str, Any]]]
    calls = [(method, path, {"json": body} if body is not None else {}) for method, path, body in CALLS]
    calls += [("GET", "/api/v1/me", {"headers": headers}) for headers in ({"X-API-Key": key}, session)]
    # Django's own pages, and the probe.
    calls += [("GET", "/admin/", {"headers": session}), ("GET", "/health/ready", {})]
    with ThreadPoolExecutor(len(calls)) as pool:
        asked = [pool.submit(web.request, method, path, **more) for method, path, more in calls]
        *answers, ready = [future.result() for future in asked]
    for call, answer in zip(calls, answers, strict=False):
        body = refusal(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1, call
        assert "database" in body["error"], call
    assert ready.status_code == 503 and "database" in ready.json()["down"]
    assert web.get("/health").status_code == 200

    gate.open()
    wait_until(lambda: web.get("/api/v1/functions").status_code == 200, "the database is back", within_sec=30)
    wait_until(lambda: web.post("/api/v1/functions/hello/async", json={}).status_code == 202, "it is accepted again")
    assert web.get("/api/v1/me", headers={"X-API-Key": key}).json()["name"] == "ann"
    assert web.get("/api/v1/functions/new").status_code == 404
