"""A second web process beside a platform's own, with a port of its own: for what must hold across both."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from nimbus_project.supervisor import parts
from tests.acceptance.wires import Answer, paced
from tests.platform import PartServer, Platform


class TwoWebs:
    """A running platform and one more web process. `first` and `second` are HTTP clients of the two."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self._web = PartServer(lambda: parts.web(2, self._listener.fileno(), {}), platform.var_dir, platform.env)
        self.bases = [f"http://127.0.0.1:{port}/api/v1" for port in (platform.port, self._listener.getsockname()[1])]
        self.first, self.second = (httpx.Client(base_url=base, timeout=60) for base in self.bases)

    def start(self) -> None:
        self._web.start()
        # The address takes connections before the process does: this waits for its first answer.
        _ok(self.second.get("/functions"))

    def stop(self) -> None:
        self.first.close()
        self.second.close()
        self._web.stop()
        self._listener.close()

    def create(self, name: str, *sources: str) -> None:
        """A function with a version per source; all of them called once."""
        body = {"name": name, "runtime": "python3.11", "handler": "handler.main", "code": sources[0]}
        _ok(self.first.post("/functions", json=body))
        for source in sources[1:]:
            _ok(self.first.put(f"/functions/{name}", json={"code": source}))
        for number in range(1, len(sources) + 1):
            _ok(self.first.post(f"/functions/{name}/invoke?version={number}", json={"n": 99}))

    def alias(self, name: str, *pairs: tuple[int, int], alias: str = "prod") -> None:
        """Make it or change it, through the first web process."""
        sides = [{"version": version, "weight": weight} for version, weight in pairs]
        routing = {"routing_config": {"weights": sides}}
        answer = self.first.put(f"/functions/{name}/aliases/{alias}", json=routing)
        if answer.status_code == 404:
            answer = self.first.post(f"/functions/{name}/aliases", json={"name": alias, **routing})
        _ok(answer)

    def rollout(self, name: str) -> Any:
        return _ok(self.first.get(f"/functions/{name}/aliases/prod/rollout")).json()

    def load(self, path: str, rate: float, until: Callable[[float], bool], limit_sec: float = 90.0) -> list[Answer]:
        """`rate` calls a second, whatever the answers take, over both web processes in turn; the event is the call's
        number. Ends when `until(seconds since the start)` is true: it runs in a thread of its own after each 50 ms."""
        return asyncio.run(paced(self.bases, path, rate, until, limit_sec))


def _ok(answer: httpx.Response) -> httpx.Response:
    assert answer.is_success, f"{answer.status_code}: {answer.text}"
    return answer


@contextmanager
def second_web(platform: Platform) -> Iterator[TwoWebs]:
    """Started, and ended whatever happens."""
    webs = TwoWebs(platform)
    try:
        webs.start()
        yield webs
    finally:
        webs.stop()
