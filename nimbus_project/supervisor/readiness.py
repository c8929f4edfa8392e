"""Asks the platform whether it is ready, without ever blocking the supervisor."""

from __future__ import annotations

import selectors
import socket
import time

PATH = "/health/ready"
_RETRY_SEC = 0.4
_ANSWER_SEC = 15.0


class Readiness:
    """One question at a time. Until the web process accepts, the question waits in the socket's queue."""

    def __init__(self, address: tuple[str, int], selector: selectors.BaseSelector) -> None:
        self.is_ready = False
        self.last_answer = "no answer yet"
        self._address = address
        self._selector = selector
        self._socket: socket.socket | None = None
        self._since = 0.0
        """When the last question was asked, or answered."""
        self._received = b""

    def step(self) -> bool:
        """Call now and then. Whether it is ready."""
        waited = time.monotonic() - self._since
        if self._socket is None and waited > _RETRY_SEC and not self.is_ready:
            self._ask()
        elif self._socket is not None and waited > _ANSWER_SEC:
            self.close()
        return self.is_ready

    def close(self) -> None:
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None
            self._since = time.monotonic()

    def _ask(self) -> None:
        self._since = time.monotonic()
        self._received = b""
        try:
            # Loopback: the connection stands at once, or not at all.
            client = socket.create_connection(self._address, timeout=1)
            client.sendall(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        except OSError as error:
            self.last_answer = str(error)
            return
        client.setblocking(False)
        self._socket = client
        self._selector.register(client, selectors.EVENT_READ, self._receive)

    def _receive(self) -> None:
        assert self._socket is not None
        try:
            chunk = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        self._received += chunk
        if not chunk:
            self.close()
            head, _, body = self._received.partition(b"\r\n\r\n")
            self.is_ready = head.split(b" ")[1:2] == [b"200"]
            self.last_answer = body.decode(errors="replace") or "no answer yet"
