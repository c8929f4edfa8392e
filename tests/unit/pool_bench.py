"""Tools of the tests of the pool: one with a driver of air, where time, boots and burials go on as the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from functions.spec import FunctionSpec
from invocations.outcome import Outcome
from tests.fakes import FakeClock, FakeDriver, FakeSandbox, ManualCrew
from workers.pool import Lease, Pool, PoolLimits, Waiter
from workers.pool.ledger import REFILL_AFTER_SEC
from workers.sandbox import Call

FAR = 1e9
BOOT_SEC = 0.3


class Bench:
    """A pool without threads, and what drives it."""

    def __init__(self, **limits: object) -> None:
        self.driver = FakeDriver()
        self.clock = FakeClock()
        self.boots = ManualCrew()
        self.burials = ManualCrew()
        self.driver.on_create = lambda _: self.clock.advance(BOOT_SEC)
        self.told: list[Waiter] = []
        values: dict[str, object] = {"memory_mb": 1024, "boot_parallel": 8}
        self.pool = Pool(
            self.driver,
            PoolLimits(**(values | limits)),  # type: ignore[arg-type]
            clock=self.clock,
            boots=self.boots,
            burials=self.burials,
            is_tended=False,
        )

    def ask(self, spec: FunctionSpec, deadline: float = FAR) -> Waiter:
        return self.pool.ask(spec, deadline, self.told.append)

    def settle(self) -> None:
        """All boots and burials, and what they bring about."""
        while self.boot_one() or self.burials.run_one():
            pass

    def boot_one(self) -> bool:
        """The oldest boot ends now, so it began some time ago: boots take time, but do not hold up the rest."""
        now = self.clock.now
        self.clock.now = now - BOOT_SEC
        did = self.boots.run_one()
        self.clock.now = now
        return did

    def lease(self, spec: FunctionSpec) -> Lease:
        """One that must come without anybody giving back."""
        warm = self.pool.take_warm(spec)
        if warm is not None:
            return warm
        waiter = self.ask(spec)
        self.settle()
        return waiter.result()

    def refill(self) -> None:
        """What was taken from the stock is replaced, though not booted yet."""
        self.clock.advance(REFILL_AFTER_SEC)
        self.pool.tend()

    def run(self, lease: Lease, invocation_id: str = "i") -> Outcome:
        return lease.run(call(invocation_id), b"{}", FAR)

    def leave_warm(self, spec: FunctionSpec) -> FakeSandbox:
        """Run once and give back."""
        with self.lease(spec) as lease:
            assert self.run(lease).ok
            return sandbox_of(lease)


def call(invocation_id: str = "i") -> Call:
    return Call(invocation_id=invocation_id, request_id="r")


def sandbox_of(lease: Lease) -> FakeSandbox:
    assert isinstance(lease.sandbox, FakeSandbox)
    return lease.sandbox


Make = Callable[..., Bench]


@pytest.fixture
def make() -> Iterator[Make]:
    """Benches whose sandboxes were not misused, whose budget held, and whose close leaves nothing."""
    made: list[Bench] = []

    def build(**limits: object) -> Bench:
        made.append(Bench(**limits))
        return made[-1]

    yield build
    for bench in made:
        bench.pool.close()
        assert bench.driver.violations == []
        assert bench.driver.peak_mb <= bench.pool.limits.memory_mb
        assert bench.driver.peak_count <= bench.pool.limits.max_sandboxes
        assert bench.driver.sandboxes == []
        assert all(waiter.is_settled or waiter.withdrawn for waiter in bench.told)
