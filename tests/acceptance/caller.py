"""A client of the platform under test: what a user's script would do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

from tests.platform import Platform
from tests.services import wait_until

ENDED = ("success", "failed", "timeout", "cancelled")

SLEEPER = """
import time

def main(event, context):
    print("began", flush=True)
    time.sleep(event.get("sec", 0))
    return event.get("token")
"""


class Caller:
    """The API of one platform; callable from any thread."""

    def __init__(self, platform: Platform) -> None:
        self.redis_url = platform.redis.url
        limits = httpx.Limits(max_connections=300, max_keepalive_connections=50)
        self.http = httpx.Client(base_url=platform.url + "/api/v1", timeout=90, limits=limits)

    def close(self) -> None:
        self.http.close()

    def create(self, name: str, code: str = SLEEPER, **more: Any) -> None:
        """The function of this name, as told, whatever was under that name before."""
        self.http.delete(f"/functions/{name}")
        body = {"name": name, "runtime": "python3.11", "handler": "handler.main", "code": code}
        answer = self.http.post("/functions", json=body | more)
        assert answer.status_code == 201, answer.text

    def invoke(self, name: str, event: Any = None, **more: Any) -> httpx.Response:
        return self.http.post(f"/functions/{name}/invoke", json={} if event is None else event, **more)

    def send(self, name: str, event: Any = None, **more: Any) -> str:
        """Asynchronously; the id of the accepted invocation."""
        answer = self.http.post(f"/functions/{name}/async", json={} if event is None else event, **more)
        assert answer.status_code == 202, f"{answer.status_code}: {answer.text}"
        accepted: str = answer.json()["invocation_id"]
        return accepted

    def get(self, reference: str) -> dict[str, Any]:
        answer = self.http.get(f"/invocations/{reference}")
        assert answer.status_code == 200, answer.text
        row: dict[str, Any] = answer.json()
        return row

    def all_of(self, name: str) -> list[dict[str, Any]]:
        """Every invocation of a function, page by page."""
        rows: list[dict[str, Any]] = []
        cursor = ""
        while True:
            answer = self.http.get(f"/functions/{name}/invocations", params={"limit": "100", "cursor": cursor})
            assert answer.status_code == 200, answer.text
            page = answer.json()
            rows += page["invocations"]
            cursor = page.get("next_cursor", "")
            if not cursor:
                return rows

    def statuses(self, name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in self.all_of(name):
            found[row["status"]] = found.get(row["status"], 0) + 1
        return found

    def ended(self, reference: str, timeout: float = 30.0) -> dict[str, Any]:
        wait_until(lambda: self.get(reference)["status"] in ENDED, timeout, f"the end of {reference}")
        return self.get(reference)

    def running(self, reference: str) -> None:
        """Return once it has printed its first line."""
        wait_until(lambda: self.http.get(f"/invocations/{reference}/logs").json()["logs"], 30, f"{reference} to begin")

    def lines(self, reference: str) -> list[str]:
        return [line["message"] for line in self.http.get(f"/invocations/{reference}/logs").json()["logs"]]


@contextmanager
def events(caller: Caller, path: str) -> Iterator[Events]:
    """The Server-Sent Events of an address, from when the connection stands."""
    with caller.http.stream("GET", path) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Events(answer)


class Events:
    """Collects in a thread of its own."""

    def __init__(self, answer: httpx.Response) -> None:
        self.received: list[tuple[str, dict[str, Any]]] = []
        self.over = threading.Event()
        self._answer = answer
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        kind = ""
        try:
            for line in self._answer.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    self.received.append((kind, json.loads(value)))
        except httpx.HTTPError:
            pass
        self.over.set()

    def messages(self) -> list[str]:
        return [data["message"] for kind, data in self.received if kind == "log"]


@contextmanager
def calls(caller: Caller, name: str, tokens: range, sec: float) -> Iterator[list[Any]]:
    """Synchronous calls under way; their futures."""
    with ThreadPoolExecutor(len(tokens)) as pool:
        yield [pool.submit(caller.invoke, name, {"token": token, "sec": sec}) for token in tokens]
