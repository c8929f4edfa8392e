"""Reverse proxies on real sockets, each with an address of its own on the loopback."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def post(path: str, port: int, *, to: str = "127.0.0.1", source: str = "", **headers: str) -> int:
    """Send one byte from this address; the status of the answer. Names of headers with _ for -."""
    connection = http.client.HTTPConnection(to, port, timeout=30, source_address=(source, 0) if source else None)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, b"1", {"Content-Type": "application/json"} | given)
        return connection.getresponse().status
    finally:
        connection.close()


@contextmanager
def proxy(address: str, onward: tuple[str, int], *, source: str = "", says_port: bool = False) -> Iterator[int]:
    """One that listens at `address`, appends to `X-Forwarded-For` where each request came from, as proxies do, and
    sends it on from its own address. Its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            peer, peer_port = self.client_address[:2]
            shown = f"[{peer}]" if ":" in peer and says_port else peer
            before = self.headers.get_all("x-forwarded-for", [])
            forwarded = ", ".join([*before, f"{shown}:{peer_port}" if says_port else shown])
            kept = {name: value for name, value in self.headers.items() if name.lower() != "x-forwarded-for"}
            upstream = http.client.HTTPConnection(*onward, timeout=30, source_address=(source or address, 0))
            try:
                upstream.request("POST", self.path, body, kept | {"X-Forwarded-For": forwarded})
                answer = upstream.getresponse()
                told = answer.read()
            finally:
                upstream.close()
            self.send_response(answer.status)
            self.send_header("content-length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

    with Server((address, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join(30)
