"""Both ends of the direct lane in this process: a whole worker on the process driver, and a web process's links."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from functions.spec import FunctionSpec
from invocations.direct import DirectLane
from invocations.outcome import Fault, LogLine, Outcome, Status
from invocations.record import CallMessage, RunRecord
from nimbus_project.config import Config
from nimbus_project.core.fleet import WorkerState
from tests.fakes import make_spec
from workers.drivers.process import ProcessDriver
from workers.specs import Specs
from workers.worker import Worker

T = TypeVar("T")

ECHO = "def main(event):\n    return event\n"
COUNTER = "calls = 0\n\ndef main(event):\n    global calls\n    calls += 1\n    return calls\n"
SLEEPER = """
import time

def main(event):
    print("began", flush=True)
    time.sleep(event["sec"])
    return event.get("token")
"""


class LaneWorker:
    """A worker that runs what `functions` has, by id and version."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        values: dict[str, Any] = {
            "var_dir": folder, "node": "here", "sandbox_driver": "process", "prewarm_python": 0, "prewarm_node": 0,
            "prewarm_go": 0, "prewarm_wasm": 0,
            "drain_grace_sec": 1, "max_log_bytes": 256 * 1024, "sandbox_pids": 64,
        }  # fmt: skip
        self.settings = Config(**values | settings)
        self.functions: dict[tuple[str, int], FunctionSpec] = {}
        self.worker = Worker(self.settings, ProcessDriver(self.settings, _stage_nothing), threads=4)
        self.worker.specs = Specs(self._read, self.worker._outgrow)

    def _read(self, function_id: str, version: int, environment: str) -> FunctionSpec | None:
        return self.functions.get((function_id, version))

    def add(self, source: str | bytes = ECHO, **more: Any) -> FunctionSpec:
        """A function of its own."""
        artifact = source.encode() if isinstance(source, str) else source
        return self.take(make_spec(str(uuid4()), artifact=artifact, **{"handler": "handler.main"} | more))

    def take(self, spec: FunctionSpec) -> FunctionSpec:
        self.functions[spec.function_id, spec.version] = spec
        return spec

    @property
    def state(self) -> WorkerState:
        return self.worker.state()

    @property
    def loaded(self) -> list[str]:
        return list(self.worker.pool.stats().loaded)


def _stage_nothing(spec: FunctionSpec, folder: Path) -> None:
    raise AssertionError("these functions are of one file")


@contextmanager
def open_worker(folder: Path, **settings: Any) -> Iterator[LaneWorker]:
    """Opened as a worker process opens it, and closed; the test may have closed it before."""
    switch_sec = sys.getswitchinterval()
    made = LaneWorker(folder, **settings)
    made.worker.open()
    try:
        yield made
    finally:
        if not made.worker.closed.is_set():
            made.worker.close()
        sys.setswitchinterval(switch_sec)


class Web:
    """A web process's end; callable from any thread."""

    def __init__(self, settings: Config) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="web", daemon=True)
        self._thread.start()
        self.lane = self.run(_made(settings))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(120)

    def follow(self, *living: WorkerState) -> None:
        self.run(self.lane.follow(living))

    def call(self, message: CallMessage, event: bytes = b"{}", sec: float = 60.0) -> RunRecord | None:
        return self.run(self.lane.call(message, event, time.monotonic() + sec))

    def calls(self, calls: Iterable[tuple[CallMessage, bytes]], sec: float = 60.0) -> list[RunRecord | None]:
        """All at once."""
        until = time.monotonic() + sec

        async def gather() -> list[RunRecord | None]:
            return await asyncio.gather(*(self.lane.call(message, event, until) for message, event in calls))

        return self.run(gather())

    def begin(self, message: CallMessage, event: bytes = b"{}", sec: float = 60.0) -> Any:
        """The future of a call under way."""
        return asyncio.run_coroutine_threadsafe(self.lane.call(message, event, time.monotonic() + sec), self.loop)

    def cut(self) -> None:
        """As when the process dies: connections end, nothing is said."""

        async def abort() -> None:
            for link in self.lane._links.values():
                link._transport.abort()

        self.run(abort())

    def close(self) -> None:
        async def end() -> None:
            self.lane.close()
            # TLS says goodbye before it closes. What is left then is the loop's own.
            selector = self.loop._selector  # type: ignore[attr-defined]
            async with asyncio.timeout(30):
                while len(selector.get_map()) > 1:  # noqa: ASYNC110  nobody tells when a socket is closed
                    await asyncio.sleep(0.01)

        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


async def _made(settings: Config) -> DirectLane:
    return DirectLane(settings)


@contextmanager
def open_web(settings: Config, *living: WorkerState) -> Iterator[Web]:
    web = Web(settings)
    try:
        web.follow(*living)
        yield web
    finally:
        web.close()


def message(spec: FunctionSpec, **more: Any) -> CallMessage:
    """A call of this version, begun now."""
    now_ms = time.time() * 1000
    values: dict[str, Any] = {
        "id": str(uuid4()), "request_id": "r-1", "function_id": spec.function_id, "function_name": spec.function_name,
        "runtime": spec.runtime, "version": spec.version, "created_ms": now_ms, "start_before_ms": now_ms + 60_000,
        "reply_to": "web",
    }  # fmt: skip
    return CallMessage(**values | more)


def outcome_of(record: RunRecord) -> Outcome:
    """What the run came to, as a sandbox tells it."""
    return Outcome(
        status=Status(record.status),
        output=record.output,
        fault=Fault(record.fault) if record.fault else None,
        error=record.error,
        error_type=record.error_type,
        stack_trace=tuple(record.stack_trace),
        duration_ms=record.duration_ms,
        memory_used_mb=record.memory_used_mb,
        logs=tuple(LogLine(*line) for line in record.logs),
    )
