"""The bench's load generator reads answers right: whole ones, in pieces, large ones, wrong ones."""

from __future__ import annotations

import socketserver
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from tests.bench.load import Load, Order, content_length, measure

Pieces = list[bytes]


class _Server(socketserver.ThreadingTCPServer):
    """Its port; ends with its connections."""

    def __init__(self, pieces: Pieces, closes_after: int) -> None:
        self.pieces = pieces
        self.closes_after = closes_after
        super().__init__(("127.0.0.1", 0), _Connection)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Connection(socketserver.StreamRequestHandler):
    """Answers each request with the pieces, each in a packet of its own."""

    server: _Server
    disable_nagle_algorithm = True

    def handle(self) -> None:
        for _ in range(self.server.closes_after):
            if not self._read_request():
                return
            for piece in self.server.pieces:
                self.wfile.write(piece)
                self.wfile.flush()
                # Nothing depends on it: packets that the kernel joins only make the test an easier one.
                time.sleep(0.001)

    def _read_request(self) -> bool:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return False
            head += line
        return self.rfile.read(content_length(head, len(head) - 4)) is not None


@contextmanager
def _server(pieces: Pieces, *, closes_after: int = 10**9) -> Iterator[int]:
    """Its port."""
    with _Server(pieces, closes_after) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.port
        finally:
            server.shutdown()
            thread.join(10)


def _load(pieces: Pieces, *, calls: int = 4, callers: int = 2, closes_after: int = 10**9, body: str = "{}") -> Load:
    with _server(pieces, closes_after=closes_after) as port:
        return measure(Order(port=port, path="/", callers=callers, calls=calls, seconds=60, body=body))


def _answer(body: bytes, status: bytes = b"200 OK", name: bytes = b"content-length") -> bytes:
    return b"HTTP/1.1 %b\r\ndate: now\r\n%b: %d\r\nx-last: 1\r\n\r\n%b" % (status, name, len(body), body)


@pytest.mark.parametrize("name", [b"content-length", b"Content-Length"])
def test_counts_whole_answers(name: bytes) -> None:
    load = _load([_answer(b'{"a": 1}', name=name)])
    assert (load.count, load.errors, load.received) == (4, 0, 32)
    assert len(load.latencies) == 4
    assert load.statuses == {"200": 4}


def test_puts_pieces_together() -> None:
    whole = _answer(b'{"a": 1}')
    load = _load([whole[:5], whole[5:60], whole[60:-3], whole[-3:]])
    assert (load.count, load.errors, load.received) == (4, 0, 32)


def test_reads_and_sends_a_megabyte() -> None:
    load = _load([_answer(b"x" * 1_000_000)], body="y" * 1_000_000)
    assert (load.count, load.errors, load.received) == (4, 0, 4_000_000)


def test_an_empty_body_is_an_answer() -> None:
    assert _load([_answer(b"", b"204 No Content")]).statuses == {"204": 4}


def test_what_is_not_2xx_is_an_error() -> None:
    load = _load([_answer(b"{}", b"503 Service Unavailable")])
    assert (load.count, load.errors, load.statuses) == (4, 4, {"503": 4})


def test_an_answer_without_a_length_is_an_error() -> None:
    load = _load([b"HTTP/1.1 200 OK\r\n\r\n{}"])
    assert (load.count, load.errors, load.statuses) == (0, 2, {"unreadable": 2})


def test_more_than_was_asked_for_is_an_error() -> None:
    load = _load([_answer(b"{}") + b"{}"])
    assert (load.count, load.errors) == (0, 2)


def test_a_lost_connection_is_an_error() -> None:
    load = _load([_answer(b"{}")], calls=6, closes_after=1)
    assert (load.count, load.errors, load.statuses) == (2, 2, {"200": 2, "lost": 2})


def test_a_time_ends_it_too() -> None:
    with _server([_answer(b"{}")]) as port:
        load = measure(Order(port=port, path="/", callers=1, seconds=0.05))
    assert load.count >= 1
    assert load.errors == 0
