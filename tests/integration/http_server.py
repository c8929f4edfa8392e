"""A web process's server within this process: its protocol and its entrance, on a socket."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from nimbus_project import serve
from tests.integration.plane import wait_until


@dataclass(frozen=True, slots=True)
class HttpServer:
    server: uvicorn.Server
    port: int

    def options(self, level: int, name: int) -> list[int]:
        """What its connections have this option of sockets set to."""
        connections: list[Any] = list(self.server.server_state.connections)
        return [each.transport.get_extra_info("socket").getsockopt(level, name) for each in connections]


@contextmanager
def http_server(application: Any) -> Iterator[HttpServer]:
    """It listens on loopback."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        server = serve.server(application, 5)
        thread = threading.Thread(target=server.run, args=([listener],), name="http-server", daemon=True)
        thread.start()
        try:
            wait_until(lambda: server.started, "the server to listen", within_sec=60)
            yield HttpServer(server, int(listener.getsockname()[1]))
        finally:
            server.should_exit = True
            thread.join(30)


@dataclass(frozen=True, slots=True)
class Said:
    """An answer as it came over the wire. Names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection, which is kept. Sends what it is told, header for header."""

    def __init__(self, port: int) -> None:
        self.host = f"localhost:{port}"
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def send(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes, *, chunked: bool) -> Said:
        connection = self._connection
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        length = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))
        for name, value in (*headers, length):
            connection.putheader(name, value)
        connection.endheaders(body, encode_chunked=chunked)
        answer = connection.getresponse()
        said = Said(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        if answer.will_close:
            connection.close()
        return said

    def close(self) -> None:
        self._connection.close()
