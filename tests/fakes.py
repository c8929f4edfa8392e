"""In-memory stand-ins that keep to the real interfaces, so that unit tests need no container."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from functions.runtimes import Runtime
from functions.spec import FunctionSpec
from invocations.outcome import ErrorType, Fault, Outcome, Status
from workers.sandbox import Call, LogSink, SandboxError

BROKEN = "broken.handler"
"""A handler whose module fails to load."""


def make_spec(
    function: str = "f", version: int = 1, *, memory_mb: int = 128, runtime: str = "python3.11", **more: object
) -> FunctionSpec:
    """A version of a function, small and harmless unless told otherwise."""
    values: dict[str, object] = {"handler": "main.handler", "timeout_sec": 30, "artifact": b"", "artifact_sha256": ""}
    return FunctionSpec(
        function_id=function,
        function_name=function,
        version=version,
        memory_mb=memory_mb,
        runtime=runtime,
        **(values | more),  # type: ignore[arg-type]
    )


class FakeClock:
    """Time that stands still until told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class ManualCrew:
    """Does jobs when the test says so, on the test's thread."""

    def __init__(self) -> None:
        self.jobs: deque[Callable[[], None]] = deque()

    def submit(self, job: Callable[[], None]) -> None:
        self.jobs.append(job)

    def run_one(self) -> bool:
        """The oldest job. False if there is none."""
        if not self.jobs:
            return False
        self.jobs.popleft()()
        return True

    def run_all(self) -> int:
        """Until none is left, those that come of it included. The count."""
        count = 0
        while self.run_one():
            count += 1
        return count

    def close(self, timeout_sec: float) -> None:
        self.run_all()


class FakeSandbox:
    """Keeps the promises of `Sandbox` and notes in `driver.violations` when its user breaks one."""

    def __init__(self, driver: FakeDriver, id: str, runtime: str, memory_mb: int, network: str) -> None:
        self.id = id
        self.runtime = runtime
        self.memory_mb = memory_mb
        self.network = network
        self.spec: FunctionSpec | None = None
        self.calls: list[str] = []
        self.died = threading.Event()
        self._driver = driver
        self._in_use = threading.Lock()

    @property
    def alive(self) -> bool:
        return not self.died.is_set()

    @property
    def dead(self) -> bool:
        return self.died.is_set()

    def load(self, spec: FunctionSpec, deadline: float, on_log: LogSink | None = None) -> Outcome | None:
        with self._alone("load"):
            if self.spec is not None:
                self._driver.violations.append(f"{self.id}: loaded twice")
            if (spec.runtime, spec.network) != (self.runtime, self.network):
                self._driver.violations.append(f"{self.id}: of another kind than {spec.key}")
            self.spec = spec
            self._driver.on_load(self)
            if not self.alive:
                raise SandboxError(f"{self.id} is gone")
            if spec.handler == BROKEN:
                return _failed("ImportError")
            self._driver.resize(self, spec.memory_mb)
            return None

    def invoke(self, call: Call, event: bytes, deadline: float, on_log: LogSink | None = None) -> Outcome:
        with self._alone("invoke"):
            if self.spec is None:
                self._driver.violations.append(f"{self.id}: invoked without code")
            self.calls.append(call.invocation_id)
            self._driver.on_invoke(self)
            if not self.alive:
                return _failed(ErrorType.PROCESS_EXITED)
            return Outcome(status=Status.SUCCESS, output=event)

    def destroy(self) -> None:
        self._driver.on_destroy(self)
        self.died.set()
        self._driver.forget(self)

    def _alone(self, what: str) -> _Alone:
        return _Alone(self._in_use, lambda: self._driver.violations.append(f"{self.id}: {what} while in use"))


class _Alone:
    def __init__(self, lock: threading.Lock, complain: Callable[[], None]) -> None:
        self._lock = lock
        self._complain = complain

    def __enter__(self) -> None:
        self._took = self._lock.acquire(blocking=False)
        if not self._took:
            self._complain()

    def __exit__(self, *_: object) -> None:
        if self._took:
            self._lock.release()


def _failed(error_type: str) -> Outcome:
    return Outcome(status=Status.FAILED, fault=Fault.FUNCTION, error=error_type, error_type=error_type)


def _nothing(_: object) -> None:
    return None


class FakeDriver:
    """Sandboxes of air. The `on_…` hooks run on the thread of the call: wait on an event there, or raise."""

    name = "fake"

    def __init__(self) -> None:
        self.on_create: Callable[[Runtime], None] = _nothing
        self.on_load: Callable[[FakeSandbox], None] = _nothing
        self.on_invoke: Callable[[FakeSandbox], None] = _nothing
        self.on_destroy: Callable[[FakeSandbox], None] = _nothing
        self.missing: dict[str, str] = {}
        """Why a runtime is not available."""
        self.violations: list[str] = []
        self.created = 0
        self.peak_mb = 0
        self.peak_count = 0
        self._lock = threading.Lock()
        self._held: dict[str, FakeSandbox] = {}
        self._booting_mb: list[int] = []

    @property
    def sandboxes(self) -> list[FakeSandbox]:
        """Those not destroyed, oldest first."""
        with self._lock:
            return list(self._held.values())

    def create(self, runtime: Runtime, *, memory_mb: int, network: str = "none", deadline: float) -> FakeSandbox:
        with self._lock:
            self.created += 1
            sandbox = FakeSandbox(self, f"s{self.created}", runtime.name, memory_mb, network)
            self._booting_mb.append(memory_mb)
            self._measure()
        try:
            self.on_create(runtime)
            with self._lock:
                self._held[sandbox.id] = sandbox
            return sandbox
        finally:
            with self._lock:
                self._booting_mb.remove(memory_mb)

    def available(self, runtime: Runtime) -> str | None:
        return self.missing.get(runtime.name)

    def sweep(self) -> int:
        return 0

    def close(self) -> None:
        for sandbox in self.sandboxes:
            sandbox.destroy()

    def resize(self, sandbox: FakeSandbox, memory_mb: int) -> None:
        """For the sandboxes."""
        with self._lock:
            sandbox.memory_mb = memory_mb
            self._measure()

    def forget(self, sandbox: FakeSandbox) -> None:
        """For the sandboxes."""
        with self._lock:
            self._held.pop(sandbox.id, None)

    def _measure(self) -> None:
        memory_mb = sum(s.memory_mb for s in self._held.values()) + sum(self._booting_mb)
        self.peak_mb = max(self.peak_mb, memory_mb)
        self.peak_count = max(self.peak_count, len(self._held) + len(self._booting_mb))
