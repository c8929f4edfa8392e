"""The pool under every order of events that hypothesis can think of: no threads, so each failure can be replayed."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.fakes import BROKEN, FakeClock, FakeDriver, FakeSandbox, ManualCrew, make_spec
from workers.pool import Lease, Pool, PoolLimits, Waiter
from workers.sandbox import Call, SandboxError

LIMITS = PoolLimits(
    memory_mb=768,
    max_sandboxes=5,
    idle_sec=20.0,
    boot_parallel=2,
    prewarm={"python3.11": 1, "nodejs20": 1},
    prewarm_memory_mb=128,
)
SPECS = [
    make_spec("a"),
    make_spec("a", 2, memory_mb=256),
    make_spec("b", memory_mb=384),
    make_spec("c", runtime="nodejs20"),
    make_spec("d", network="egress"),
    make_spec("e", memory_mb=768),
    make_spec("x", handler=BROKEN),
]
PICK = st.integers(0, 10**6)


class PoolMachine(RuleBasedStateMachine):
    """Callers come, run, go and give up; boots and burials end when they like; sandboxes die; time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.driver = FakeDriver()
        self.clock = FakeClock()
        self.boots, self.burials = ManualCrew(), ManualCrew()
        self.pool = Pool(self.driver, LIMITS, clock=self.clock, boots=self.boots, burials=self.burials, is_tended=False)
        self.told: list[Waiter] = []
        self.waiting: list[Waiter] = []
        self.leases: list[Lease] = []
        self.calls = 0

    def collect(self) -> None:
        for waiter in [w for w in self.waiting if w.is_settled]:
            self.waiting.remove(waiter)
            assert self.told.count(waiter) == 1
            if waiter.error is None:
                self.leases.append(waiter.result())

    @rule(spec=st.sampled_from(SPECS), patience=st.sampled_from([3.0, 1e6]))
    def ask(self, spec: object, patience: float) -> None:
        assert isinstance(spec, type(SPECS[0]))
        warm = self.pool.take_warm(spec)
        if warm is not None:
            self.leases.append(warm)
        else:
            self.waiting.append(self.pool.ask(spec, self.clock.now + patience, self.told.append))

    @precondition(lambda self: self.leases)
    @rule(n=PICK)
    def run(self, n: int) -> None:
        lease = self.leases[n % len(self.leases)]
        self.calls += 1
        try:
            lease.run(Call(invocation_id=str(self.calls), request_id="r"), b"1", 1e9)
        except SandboxError:
            assert not lease.sandbox.alive or lease.slot.spent

    @precondition(lambda self: self.leases)
    @rule(n=PICK)
    def release(self, n: int) -> None:
        lease = self.leases.pop(n % len(self.leases))
        lease.release()
        lease.release()

    @precondition(lambda self: self.waiting)
    @rule(n=PICK)
    def withdraw(self, n: int) -> None:
        self.pool.withdraw(self.waiting.pop(n % len(self.waiting)))

    @rule()
    def boot(self) -> None:
        self.boots.run_one()

    @rule()
    def boot_fails(self) -> None:
        def fail(_: object) -> None:
            raise SandboxError("engine says no")

        usual, self.driver.on_create = self.driver.on_create, fail
        self.boots.run_one()
        self.driver.on_create = usual

    @rule()
    def bury(self) -> None:
        self.burials.run_one()

    @precondition(lambda self: self.driver.sandboxes)
    @rule(n=PICK)
    def die(self, n: int) -> None:
        sandboxes = self.driver.sandboxes
        sandboxes[n % len(sandboxes)].died.set()

    @rule(spec=st.sampled_from(SPECS))
    def evict(self, spec: object) -> None:
        assert isinstance(spec, type(SPECS[0]))
        self.pool.evict(spec.function_id)

    @rule(seconds=st.sampled_from([0.01, 0.5, 2.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.pool.tend()

    @invariant()
    def one_sandbox_one_lease_one_version(self) -> None:
        self.collect()
        assert self.driver.violations == []
        held = [lease.sandbox.id for lease in self.leases]
        assert len(held) == len(set(held))
        for lease in self.leases:
            assert isinstance(lease.sandbox, FakeSandbox)
            assert lease.sandbox.spec in (None, lease.spec)
            assert lease.sandbox.network == lease.spec.network

    @invariant()
    def within_the_budget(self) -> None:
        stats = self.pool.stats()
        assert self.driver.peak_mb <= LIMITS.memory_mb and self.driver.peak_count <= LIMITS.max_sandboxes
        assert stats.memory_mb <= LIMITS.memory_mb and stats.size <= LIMITS.max_sandboxes
        assert stats.busy == len(self.leases)

    def teardown(self) -> None:
        """Everybody gives back: then whoever waits is served, and in the end nothing is left."""
        for _ in range(len(self.waiting) + 200):
            self.clock.advance(0.5)
            self.pool.tend()
            self.boots.run_one()
            self.burials.run_all()
            self.collect()
            while self.leases:
                self.leases.pop().release()
            if not self.waiting:
                break
        assert not self.waiting, "somebody was forgotten"
        self.pool.close()
        assert self.driver.sandboxes == []
        assert self.pool.stats().size == 0


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
