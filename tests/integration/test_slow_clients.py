"""Clients that never end what they say, or never read what they asked for: before any key is looked at."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from nimbus_project import bounded_protocol
from tests.integration.http_server import HttpServer, http_server
from tests.integration.plane import wait_until

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
LARGE = 16 * 1024 * 1024
"""More than the sockets of both ends hold."""


class Application:
    """Reads the whole body, then answers; at /large with more than anybody's buffers take."""

    ways = (SimpleNamespace(new_habit=object, takes=lambda *_: False),)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.disconnect":
            return
        body = bytes(LARGE) if scope["path"] == "/large" else b"whole"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpServer]:
    monkeypatch.setattr(bounded_protocol, "LOOK_SEC", 0.1)
    with http_server(Application()) as server:
        yield server


def connect(server: HttpServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=60)


def until_closed(connection: socket.socket) -> bytes:
    """What comes until the server ends it; a TimeoutError when it never does."""
    said = b""
    try:
        while some := connection.recv(65536):
            said += some
    except ConnectionResetError:
        pass
    return said


@pytest.mark.parametrize("line", [b"X-%d: " + b"a" * 1000 + b"\r\n", b"a" * 1000])
def test_headers_without_an_end_are_refused(server: HttpServer, line: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(HEAD + (b"" if line.startswith(b"X-") else b"X-Endless: "))
        sent = 0
        try:
            while sent < 50_000_000:
                sent += connection.send(line.replace(b"%d", b"%d" % sent))
        except OSError:
            pass
        said = until_closed(connection)
    assert sent < 50_000_000
    # It may have been reset before the refusal could be read.
    assert said == b"" or said.startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("part", [b"", b"GET / HT", HEAD, HEAD + b"X-Half: ", POST, POST + b"{"])
def test_who_stops_in_the_middle_is_let_go(server: HttpServer, part: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(part)
        assert until_closed(connection) == b""
    wait_until(lambda: not server.server.server_state.connections, "the connection to be forgotten")


def test_who_never_reads_the_answer_is_let_go(server: HttpServer) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: bool(server.server.server_state.total_requests), "the answer to be written")
        wait_until(lambda: not server.server.server_state.connections, "the connection to be let go", within_sec=60)


def test_a_body_that_comes_slowly_but_comes_is_waited_for(server: HttpServer) -> None:
    with connect(server) as connection:
        connection.sendall(POST.replace(b"100", b"6"))
        connections: Any = server.server.server_state.connections
        wait_until(lambda: any(each._steps >= 2 for each in connections), "the head to be there")
        (protocol,) = connections
        for _ in range(5):
            connection.sendall(b"x")
            before = protocol._seen
            wait_until(lambda before=before: protocol._seen != before, "a look at the connection")  # type: ignore[misc]
        connection.sendall(b"x")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_what_is_no_http_is_refused_in_the_one_shape(server: HttpServer) -> None:
    with connect(server) as connection:
        connection.sendall(b"BREW / HTTP/1.1\r\n\r\n")
        head, _, body = until_closed(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    said = orjson.loads(body)
    assert set(said) == {"error", "code", "request_id"}
    assert said["code"] == "malformed_request"
    assert f"x-request-id: {said['request_id']}".encode() in head
