"""The pool against a driver of air. Time, boots and burials go on when the test says so; only the last part uses
threads, and waits for events, never for time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from functions.spec import FunctionSpec
from invocations.outcome import ErrorType, Fault, Outcome, StartKind, Status
from nimbus_project.config import Config
from tests.fakes import BROKEN, FakeClock, FakeDriver, FakeSandbox, ManualCrew, make_spec
from workers.pool import Lease, Pool, PoolClosed, PoolLimits, PoolTimeout, Waiter
from workers.pool.ledger import PATIENCE_SEC, REFILL_AFTER_SEC
from workers.sandbox import Call, SandboxError

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


# -- who gets what


def test_cold_then_warm(make: Make) -> None:
    bench = make()
    with bench.lease(make_spec()) as first:
        assert first.start is StartKind.COLD
        assert bench.run(first).output == b"{}"
    with bench.lease(make_spec()) as second:
        assert second.start is StartKind.WARM
        assert second.sandbox is first.sandbox
        assert (second.waited_ms, second.init_ms) == (0, 0)
    assert bench.driver.created == 1


def test_says_what_it_waited_and_loaded(make: Make) -> None:
    bench = make()
    bench.driver.on_load = lambda _: bench.clock.advance(0.5)
    waiter = bench.ask(make_spec())
    bench.clock.advance(0.25)
    bench.settle()
    with waiter.result() as lease:
        bench.run(lease)
    assert (lease.waited_ms, lease.init_ms) == (250, 500)


@pytest.mark.parametrize("other", [make_spec("f", 2), make_spec("g", 1)], ids=["version", "function"])
def test_never_shared(make: Make, other: FunctionSpec) -> None:
    bench = make()
    mine = bench.leave_warm(make_spec("f", 1))
    with bench.lease(other) as lease:
        assert lease.sandbox is not mine


def test_released_twice_it_is_still_the_next_callers(make: Make) -> None:
    bench = make()
    first = bench.lease(make_spec())
    bench.run(first)
    first.release()
    with bench.lease(make_spec()) as second:
        first.release()
        assert second.sandbox is first.sandbox
        assert bench.pool.take_warm(make_spec()) is None


def test_first_come_first_served(make: Make) -> None:
    bench = make(max_sandboxes=1)
    lease = bench.lease(make_spec())
    bench.run(lease)
    waiters = [bench.ask(make_spec()) for _ in range(5)]
    for waiter in waiters:
        lease.release()
        assert bench.told[-1] is waiter
        lease = waiter.result()
        assert lease.start is StartKind.WARM
    lease.release()


def test_served_by_one_that_came_back_the_boot_is_the_stocks(make: Make) -> None:
    bench = make()
    first = bench.lease(make_spec())
    bench.run(first)
    waiter = bench.ask(make_spec())
    bench.clock.advance(1.0)
    bench.pool.tend()
    assert len(bench.boots.jobs) == 1
    first.release()
    assert waiter.result().sandbox is first.sandbox
    bench.settle()
    assert bench.pool.stats().prewarmed["python3.11"] == 1
    with bench.lease(make_spec("g")) as other:
        assert other.start is StartKind.PREWARMED
    waiter.result().release()


def test_served_by_one_that_came_back_a_boot_not_begun_is_called_off(make: Make) -> None:
    bench = make(boot_parallel=1)
    first = bench.lease(make_spec())
    bench.run(first)
    bench.ask(make_spec("g"))
    waiter = bench.ask(make_spec())
    bench.clock.advance(1.0)
    bench.pool.tend()
    first.release()
    bench.settle()
    assert bench.driver.created == 2
    for granted in (waiter, bench.told[-1]):
        granted.result().release()


def test_refuses_what_can_never_be(make: Make) -> None:
    bench = make()
    with pytest.raises(SandboxError, match="needs 2048 MB, and this worker's pool has 1024 MB"):
        bench.ask(make_spec(memory_mb=2048))
    with pytest.raises(SandboxError, match="no runtime 'cobol'"):
        bench.ask(make_spec(runtime="cobol"))


# -- how it grows


def busy_loop(bench: Bench, callers: int, run_sec: float, rounds: int) -> int:
    """Callers of one function who ask again at once; how many sandboxes that makes."""
    spec = make_spec()
    waiters = [bench.ask(spec) for _ in range(callers)]
    since = bench.clock.now
    for _ in range(rounds):
        for waiter in [w for w in waiters if w.is_settled]:
            bench.run(waiter.result())
        bench.clock.advance(run_sec)
        if bench.clock.now - since >= BOOT_SEC:
            since = bench.clock.now
            for _ in range(min(2, len(bench.boots.jobs))):
                bench.boot_one()
        for waiter in [w for w in waiters if w.is_settled]:
            waiter.result().release()
            waiters.remove(waiter)
            waiters.append(bench.ask(spec))
        bench.pool.tend()
    made = len({id(s) for s in bench.driver.sandboxes if s.spec})
    for waiter in waiters:
        bench.pool.withdraw(waiter)
    return made


@pytest.mark.parametrize("prewarm", [0, 2])
def test_many_callers_of_a_fast_function_share_a_few(make: Make, prewarm: int) -> None:
    bench = make(memory_mb=8192, boot_parallel=2, prewarm={"python3.11": prewarm})
    assert 1 <= busy_loop(bench, callers=32, run_sec=0.001, rounds=3000) <= 4


@pytest.mark.parametrize(("callers", "made"), [(8, 2), (1, 1)])
def test_a_function_in_steady_demand_has_as_many_as_there_are_processors(make: Make, callers: int, made: int) -> None:
    bench = make(memory_mb=8192, processors=2)
    assert busy_loop(bench, callers=callers, run_sec=0.0002, rounds=6000) == made


@pytest.mark.parametrize("prewarm", [0, 2])
def test_each_caller_of_a_slow_function_gets_his_own(make: Make, prewarm: int) -> None:
    bench = make(memory_mb=8192, boot_parallel=2, prewarm={"python3.11": prewarm})
    waiters = [bench.ask(make_spec()) for _ in range(8)]
    running: set[int] = set()
    for _ in range(100):
        bench.clock.advance(0.1)
        bench.settle()
        for waiter in waiters:
            if waiter.is_settled and waiter.seq not in running:
                running.add(waiter.seq)
                bench.run(waiter.result())
        bench.pool.tend()
    assert len({id(w.result().sandbox) for w in waiters}) == 8
    for waiter in waiters:
        waiter.result().release()


def test_second_caller_of_a_function_known_as_slow_need_not_wait(make: Make) -> None:
    bench = make()
    with bench.lease(make_spec()) as lease:
        bench.run(lease)
        bench.clock.advance(5.0)
    with bench.lease(make_spec()), bench.lease(make_spec()) as second:
        assert second.start is StartKind.COLD


def test_a_slow_load_is_no_reason_for_another(make: Make) -> None:
    bench = make()
    loading = bench.lease(make_spec())
    waiter = bench.ask(make_spec())
    bench.clock.advance(BOOT_SEC * 1.5)
    bench.pool.tend()
    assert not bench.boots.jobs
    bench.clock.advance(1.0)
    bench.pool.tend()
    assert bench.boots.jobs, "a load that hangs must not hold up everybody"
    bench.settle()
    for lease in (loading, waiter.result()):
        lease.release()


# -- room


def test_evicts_the_older_version_then_the_least_recently_used(make: Make) -> None:
    bench = make(max_sandboxes=3)
    kept = []
    for spec in (make_spec("g"), make_spec("h"), make_spec("f", 1)):
        kept.append(bench.leave_warm(spec))
        bench.clock.advance(1.0)
    bench.leave_warm(make_spec("f", 2))
    assert [sandbox.alive for sandbox in kept] == [True, True, False]
    bench.leave_warm(make_spec("i"))
    assert [sandbox.alive for sandbox in kept] == [False, True, False]


def test_boots_only_when_the_evicted_is_gone(make: Make) -> None:
    bench = make(max_sandboxes=1)
    bench.leave_warm(make_spec("g"))
    waiter = bench.ask(make_spec("f"))
    assert (len(bench.burials.jobs), len(bench.boots.jobs)) == (1, 0)
    bench.settle()
    waiter.result().release()


def test_prewarmed_of_another_size_books_the_larger(make: Make) -> None:
    bench = make(memory_mb=512, prewarm={"python3.11": 1}, prewarm_memory_mb=256)
    bench.pool.tend()
    bench.settle()
    with bench.ask(make_spec(memory_mb=128)).result() as lease:
        assert lease.start is StartKind.PREWARMED
        bench.refill()
        assert bench.pool.stats().memory_mb == 256 + 256
        bench.run(lease)
        assert lease.sandbox.memory_mb == 128
        bench.settle()
        assert bench.pool.stats().memory_mb == 128 + 256
    with bench.lease(make_spec("g", memory_mb=384)) as large:
        bench.run(large)
        assert large.sandbox.memory_mb == 384


def test_a_crowd_cannot_starve_another_function(make: Make) -> None:
    """One place; f's callers would keep its sandbox busy for ever."""
    bench = make(max_sandboxes=1)
    lease = bench.lease(make_spec("f"))
    bench.run(lease)
    crowd = [bench.ask(make_spec("f")) for _ in range(3)]
    other = bench.ask(make_spec("g"))
    lease.release()
    assert crowd[0].is_settled, "not at once: two busy functions would do nothing but boot"
    bench.clock.advance(PATIENCE_SEC)
    bench.pool.tend()
    crowd[0].result().release()
    bench.settle()
    assert other.is_settled
    other.result().release()
    for waiter in crowd[1:]:
        bench.pool.withdraw(waiter)


def test_a_large_function_gets_its_room_from_many_small_ones(make: Make) -> None:
    bench = make(memory_mb=512)
    small = [bench.lease(make_spec(name)) for name in "abcd"]
    for lease in small:
        bench.run(lease)
    large = bench.ask(make_spec("large", memory_mb=512))
    crowd = [bench.ask(make_spec(name)) for name in "abcd"]
    bench.clock.advance(PATIENCE_SEC)
    bench.pool.tend()
    for lease in small:
        assert not large.is_settled
        lease.release()
        bench.settle()
    large.result().release()
    for waiter in crowd:
        bench.pool.withdraw(waiter)


def test_room_reserved_is_free_again_when_its_waiter_goes(make: Make) -> None:
    bench = make(max_sandboxes=1)
    lease = bench.lease(make_spec("f"))
    bench.run(lease)
    other = bench.ask(make_spec("g"))
    bench.clock.advance(PATIENCE_SEC)
    bench.pool.tend()
    bench.pool.withdraw(other)
    lease.release()
    assert bench.pool.stats().warm == 1


def test_removes_the_idle(make: Make) -> None:
    bench = make(idle_sec=60.0)
    old = bench.leave_warm(make_spec("f"))
    bench.clock.advance(30)
    young = bench.leave_warm(make_spec("g"))
    bench.clock.advance(30)
    bench.pool.tend()
    bench.settle()
    assert (old.alive, young.alive) == (False, True)


# -- the stock


def test_stock_is_filled_taken_and_filled_again(make: Make) -> None:
    bench = make(prewarm={"python3.11": 2, "nodejs20": 1}, prewarm_memory_mb=128)
    bench.pool.tend()
    bench.settle()
    assert bench.pool.stats().prewarmed == {"python3.11": 2, "nodejs20": 1}
    with bench.lease(make_spec(runtime="nodejs20")) as lease:
        assert lease.start is StartKind.PREWARMED
        bench.refill()
        bench.settle()
        assert bench.pool.stats().prewarmed == {"python3.11": 2, "nodejs20": 1}


def test_no_boot_begins_while_a_first_call_runs(make: Make) -> None:
    bench = make(prewarm={"python3.11": 2})
    bench.pool.tend()
    bench.settle()
    with bench.ask(make_spec()).result() as lease:
        bench.run(lease)
        bench.pool.tend()
        assert not bench.boots.jobs
    bench.clock.advance(REFILL_AFTER_SEC * 0.6)
    # Nor does the next one put it off any further.
    with bench.ask(make_spec("g")).result() as lease:
        bench.run(lease)
    bench.clock.advance(REFILL_AFTER_SEC * 0.6)
    bench.pool.tend()
    assert len(bench.boots.jobs) == 2


def test_stock_leaves_a_boot_free_for_callers_and_comes_after_them(make: Make) -> None:
    bench = make(boot_parallel=2, prewarm={"python3.11": 4}, prewarm_memory_mb=128)
    bench.pool.tend()
    assert len(bench.boots.jobs) == 1
    waiter = bench.ask(make_spec(runtime="nodejs20"))
    assert len(bench.boots.jobs) == 2
    second = bench.ask(make_spec("g", runtime="nodejs20"))
    bench.boot_one()
    assert bench.boot_one() and waiter.is_settled
    assert bench.boot_one() and second.is_settled
    for lease in (waiter.result(), second.result()):
        lease.release()


def late_stock(make: Make, **limits: object) -> Bench:
    """The stock's runtime has only just become available, so the stock is still empty."""
    bench = make(prewarm={"nodejs20": 1}, prewarm_memory_mb=128, **limits)
    bench.driver.missing["nodejs20"] = "not built"
    bench.pool.tend()
    bench.settle()
    return bench


def test_stock_takes_no_room_that_a_caller_waits_for(make: Make) -> None:
    bench = late_stock(make, memory_mb=512)
    with bench.lease(make_spec("g", memory_mb=384)):
        bench.driver.missing.clear()
        bench.clock.advance(61)
        waiter = bench.ask(make_spec(memory_mb=256))
        assert not bench.boots.jobs
    bench.settle()
    waiter.result().release()


def test_stock_takes_no_boot_that_a_caller_waits_for(make: Make) -> None:
    bench = late_stock(make, memory_mb=1024, boot_parallel=1)
    bench.leave_warm(make_spec("g", memory_mb=768))
    bench.driver.missing.clear()
    bench.clock.advance(61)
    waiter = bench.ask(make_spec(memory_mb=512))
    assert not bench.boots.jobs
    bench.settle()
    waiter.result().release()


def test_stock_takes_no_room_that_the_dying_still_hold(make: Make) -> None:
    bench = late_stock(make, memory_mb=512)
    bench.leave_warm(make_spec(memory_mb=512))
    bench.driver.missing.clear()
    bench.clock.advance(61)
    bench.pool.evict("f")
    assert not bench.boots.jobs
    bench.settle()
    assert bench.pool.stats().prewarmed["nodejs20"] == 1


def test_served_from_the_stock_the_boot_is_called_off(make: Make) -> None:
    bench = make(boot_parallel=1)
    untouched = bench.lease(make_spec("g"))
    other = bench.ask(make_spec("h", runtime="nodejs20"))
    waiters = [bench.ask(make_spec()) for _ in range(3)]
    untouched.release()
    assert waiters[0].result().start is StartKind.PREWARMED
    bench.settle()
    assert bench.driver.created == 2
    for waiter in waiters[1:]:
        bench.pool.withdraw(waiter)
    waiters[0].result().release()
    other.result().release()


def test_stock_grows_old_only_beyond_its_target(make: Make) -> None:
    bench = make(idle_sec=60.0, prewarm={"python3.11": 1})
    bench.pool.tend()
    waiter, other = bench.ask(make_spec()), bench.ask(make_spec("g"))
    bench.pool.withdraw(waiter)
    bench.pool.withdraw(other)
    bench.settle()
    made = bench.driver.created
    assert made > 1
    bench.clock.advance(61)
    bench.pool.tend()
    bench.settle()
    assert bench.pool.stats().prewarmed["python3.11"] == 1
    assert bench.driver.created == made


def test_given_back_untouched_it_is_the_stocks_again(make: Make) -> None:
    bench = make(prewarm={"python3.11": 1})
    bench.pool.tend()
    bench.settle()
    with bench.lease(make_spec(memory_mb=512)):
        bench.refill()
        bench.settle()
    stats = bench.pool.stats()
    assert (stats.prewarmed, stats.warm, stats.memory_mb) == ({"python3.11": 2}, 0, 256 + 256)


# -- what goes wrong


def test_boot_failure_reaches_every_waiter_and_costs_nothing(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    bench = make(memory_mb=256)
    bench.driver.missing["python3.11"] = "the image is not built: run build_runtimes"
    waiters = [bench.ask(make_spec()) for _ in range(3)]
    bench.settle()
    for waiter in waiters:
        with pytest.raises(SandboxError, match="run build_runtimes"):
            waiter.result()
    bench.driver.missing.clear()
    with caplog.at_level(logging.INFO, "nimbus.pool"):
        bench.leave_warm(make_spec(memory_mb=256))
    assert "boot again" in caplog.text


def test_boot_failure_of_any_kind_is_a_sandbox_error(make: Make) -> None:
    bench = make()

    def explode(_: object) -> None:
        raise OSError("no space left")

    bench.driver.on_create = explode
    waiter = bench.ask(make_spec())
    bench.settle()
    with pytest.raises(SandboxError, match="OSError: no space left"):
        waiter.result()
    assert bench.pool.stats().size == 0


def test_boot_failure_spares_who_can_be_served_otherwise(make: Make) -> None:
    bench = make()
    lease = bench.lease(make_spec())
    bench.run(lease)
    waiter = bench.ask(make_spec())
    bench.clock.advance(1.0)
    bench.driver.missing["python3.11"] = "gone"
    for _ in range(10):
        bench.pool.tend()
        bench.settle()
    assert bench.driver.created == 1 and not waiter.is_settled
    lease.release()
    waiter.result().release()


def test_failing_stock_backs_off_and_is_logged_once(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    bench = make(prewarm={"python3.11": 1})
    bench.driver.missing["python3.11"] = "not built"
    tries = 0
    for _ in range(1000):
        bench.clock.advance(0.1)
        bench.pool.tend()
        tries += len(bench.boots.jobs)
        bench.settle()
    assert 3 <= tries <= 10
    assert caplog.text.count("not built") == 1
    bench.driver.missing.clear()
    bench.clock.advance(61)
    bench.pool.tend()
    bench.settle()
    assert bench.pool.stats().prewarmed["python3.11"] == 1


def test_load_failure_is_the_outcome_and_ends_the_sandbox(make: Make) -> None:
    bench = make(max_sandboxes=1)
    with bench.lease(make_spec(handler=BROKEN)) as lease:
        assert bench.run(lease).error_type == "ImportError"
    assert sandbox_of(lease).calls == []
    bench.settle()
    assert bench.pool.stats().size == 0


def test_a_lease_ends_with_its_release_and_with_its_sandbox(make: Make) -> None:
    bench = make()
    released, broken = bench.lease(make_spec("f")), bench.lease(make_spec("g", handler=BROKEN))
    released.release()
    bench.run(broken)
    for lease in (released, broken):
        with pytest.raises(SandboxError, match="this lease is over"):
            bench.run(lease)
    broken.release()


@pytest.mark.parametrize("hook", ["on_load", "on_invoke"])
def test_an_engines_error_ends_the_sandbox(make: Make, hook: str) -> None:
    bench = make()

    def fail(_: FakeSandbox) -> None:
        raise SandboxError("connection lost")

    setattr(bench.driver, hook, fail)
    with pytest.raises(SandboxError, match="connection lost"), bench.lease(make_spec()) as lease:
        bench.run(lease)
    bench.settle()
    assert bench.pool.stats().size == 0 and not bench.pool.running


def test_killed_by_its_run_it_is_not_used_again(make: Make) -> None:
    bench = make()
    bench.driver.on_invoke = lambda sandbox: sandbox.died.set()
    with bench.lease(make_spec()) as lease:
        assert bench.run(lease).error_type == ErrorType.PROCESS_EXITED
    bench.settle()
    assert bench.pool.stats().size == 0


def test_died_while_idle_it_is_not_handed_out(make: Make) -> None:
    bench = make()
    bench.leave_warm(make_spec()).died.set()
    with bench.lease(make_spec()) as lease:
        assert lease.start is StartKind.COLD


def test_died_in_the_stock_its_taker_keeps_his_turn(make: Make) -> None:
    bench = make(prewarm={"python3.11": 1})
    bench.pool.tend()
    bench.settle()
    bench.driver.sandboxes[0].died.set()
    with bench.lease(make_spec()) as lease:
        assert lease.sandbox.alive


class DiesBetweenTwoLooks(threading.Event):
    """Alive when given back, dead when handed over: what the next caller must not suffer from."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.looks = 0
        self.meanwhile = meanwhile

    def is_set(self) -> bool:
        self.looks += 1
        if self.looks == 2:
            self.meanwhile()
        return self.looks > 1


def test_died_on_the_way_to_the_next_who_keeps_his_turn(make: Make) -> None:
    bench = make(max_sandboxes=1)
    lease = bench.lease(make_spec())
    bench.run(lease)
    first, second = bench.ask(make_spec()), bench.ask(make_spec())
    sandbox_of(lease).died = DiesBetweenTwoLooks()
    lease.release()
    bench.settle()
    assert first.is_settled and not second.is_settled
    bench.run(first.result())
    first.result().release()
    second.result().release()


def test_died_on_the_way_to_one_who_has_gone(make: Make) -> None:
    bench = make(max_sandboxes=1)
    lease = bench.lease(make_spec())
    bench.run(lease)
    waiter = bench.ask(make_spec())
    sandbox_of(lease).died = DiesBetweenTwoLooks(lambda: bench.pool.withdraw(waiter))
    lease.release()
    bench.settle()
    assert (bench.driver.created, bench.pool.stats().waiting) == (1, 0)


def test_the_dead_are_found_by_housekeeping(make: Make) -> None:
    bench = make()
    bench.leave_warm(make_spec()).died.set()
    bench.pool.tend()
    bench.settle()
    assert bench.pool.stats().size == 0


def test_destroy_that_fails_costs_no_budget(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    bench = make(max_sandboxes=1)
    stuck = bench.leave_warm(make_spec("g"))

    def fail(_: FakeSandbox) -> None:
        bench.driver.on_destroy = lambda _: None
        bench.driver.forget(stuck)
        raise SandboxError("the engine does not answer")

    bench.driver.on_destroy = fail
    bench.leave_warm(make_spec("f"))
    assert "could not be destroyed" in caplog.text


# -- cancel, evict, give up, stop


def test_cancel_ends_the_run_and_the_sandbox(make: Make) -> None:
    bench = make()
    found = []
    bench.driver.on_invoke = lambda _: found.append(bench.pool.cancel("i"))
    with bench.lease(make_spec()) as lease:
        outcome = bench.run(lease)
    assert found == [True]
    assert (outcome.status, outcome.fault, outcome.error_type) == (Status.CANCELLED, Fault.CALLER, ErrorType.CANCELLED)
    bench.settle()
    assert bench.pool.stats().size == 0
    assert bench.pool.cancel("i") is False


def test_cancel_while_it_loads(make: Make) -> None:
    bench = make()
    bench.driver.on_load = lambda _: [bench.pool.cancel("i")].clear()
    with bench.lease(make_spec()) as lease:
        assert bench.run(lease).status is Status.CANCELLED


def test_cancel_as_the_run_ends(make: Make) -> None:
    """Found while still registered, it is about to be destroyed: given back just before, it is not handed on."""
    bench = make()
    lease = bench.lease(make_spec())
    bench.run(lease)
    waiter = bench.ask(make_spec())
    bench.driver.on_destroy = lambda _: lease.release()
    bench.pool.running["i"] = lease.slot
    assert bench.pool.cancel("i")
    bench.settle()
    assert waiter.result().sandbox is not lease.sandbox
    waiter.result().release()


def test_cancel_after_the_answer_changes_nothing(make: Make) -> None:
    bench = make()
    with bench.lease(make_spec()) as lease:
        bench.run(lease)
        lease.slot.cancelled = True
        assert bench.run(lease).ok


def test_evict_drops_the_idle_at_once_and_the_busy_later(make: Make) -> None:
    bench = make()
    busy = bench.lease(make_spec("f", 1))
    bench.run(busy)
    idle, other = bench.leave_warm(make_spec("f", 2)), bench.leave_warm(make_spec("g"))
    assert bench.pool.evict("f") == 2
    bench.settle()
    assert (busy.sandbox.alive, idle.alive, other.alive) == (True, False, True)
    with bench.lease(make_spec("f", 1)) as new:
        assert new.start is StartKind.COLD, "one that will not come back is not worth waiting for"
    busy.release()
    bench.settle()
    assert not busy.sandbox.alive


def test_evict_version_spares_the_others(make: Make) -> None:
    bench = make()
    old, new = bench.leave_warm(make_spec("f", 1)), bench.leave_warm(make_spec("f", 2))
    assert bench.pool.evict_version("f", 1) == 1
    bench.settle()
    assert (old.alive, new.alive) == (False, True)


def test_lease_past_its_deadline_says_what_is_in_use(make: Make) -> None:
    bench = make(max_sandboxes=1)
    with bench.lease(make_spec("g")), pytest.raises(PoolTimeout, match="1 of 1 sandboxes in use"):
        bench.pool.lease(make_spec("f"), bench.clock.now)
    assert bench.pool.stats().waiting == 0


def test_waiter_past_its_deadline_is_refused(make: Make) -> None:
    bench = make(max_sandboxes=1)
    with bench.lease(make_spec("g")):
        waiter = bench.ask(make_spec("f"), bench.clock.now + 5)
        bench.clock.advance(6)
        bench.pool.tend()
        with pytest.raises(PoolTimeout):
            waiter.result()
    assert len(bench.boots.jobs) == 0


def test_granted_as_the_caller_goes_it_is_given_back(make: Make) -> None:
    bench = make()
    waiter = bench.ask(make_spec())
    bench.settle()
    bench.pool.withdraw(waiter)
    assert (bench.pool.stats().busy, bench.pool.stats().prewarmed) == (0, {"python3.11": 1})


def test_caller_who_cannot_be_told_loses_his_lease_not_the_pool(make: Make) -> None:
    bench = make(max_sandboxes=1)

    def closed_loop(_: Waiter) -> None:
        raise RuntimeError("Event loop is closed")

    bench.pool.ask(make_spec(), FAR, closed_loop)
    bench.settle()
    with bench.lease(make_spec()) as lease:
        assert bench.run(lease).ok


def test_drain_refuses_who_waits_and_who_comes(make: Make) -> None:
    bench = make(max_sandboxes=1)
    lease = bench.lease(make_spec())
    bench.run(lease)
    waiter = bench.ask(make_spec())
    assert bench.pool.drain(0) is False
    with pytest.raises(PoolClosed):
        waiter.result()
    with pytest.raises(PoolClosed):
        bench.pool.lease(make_spec(), FAR)
    lease.release()
    assert bench.pool.drain(0) is True


def test_close_ends_the_running_and_the_booting(make: Make) -> None:
    bench = make()
    lease = bench.lease(make_spec())
    bench.run(lease)
    bench.ask(make_spec("g"))
    bench.pool.close()
    assert not lease.sandbox.alive
    lease.release()
    bench.settle()
    assert bench.pool.stats().size == 0


def test_limits_come_from_the_configuration() -> None:
    limits = PoolLimits.from_config(Config(pool_memory_mb=2048, prewarm_python=3, prewarm_node=0))
    assert (limits.memory_mb, limits.prewarm["python3.11"], limits.prewarm["nodejs20"]) == (2048, 3, 0)


# -- threads


def test_thirty_two_threads(make: Make) -> None:
    """Own version, one call at a time, budget kept (the fixture and the driver look), everybody answered."""
    driver = FakeDriver()
    limits = PoolLimits(memory_mb=1024, boot_parallel=2, prewarm={"python3.11": 2}, prewarm_memory_mb=128)
    pool = Pool(driver, limits)
    specs = [make_spec(f"f{i}", memory_mb=128 << i % 3) for i in range(6)] + [make_spec("f0", 2)]

    def kill_some(sandbox: FakeSandbox) -> None:
        if len(sandbox.calls) % 50 == 49:
            sandbox.died.set()

    driver.on_invoke = kill_some

    def work(thread: int) -> int:
        for i in range(60):
            spec = specs[(thread + i * i) % len(specs)]
            with pool.lease(spec, FAR) as lease:
                lease.run(call(f"{thread}-{i}"), b"{}", FAR)
                assert sandbox_of(lease).spec == spec
            if i % 20 == thread % 20:
                pool.evict(spec.function_id)
                pool.cancel(f"{(thread + 1) % 32}-{i}")
        return 60

    with ThreadPoolExecutor(32) as threads:
        assert sum(threads.map(work, range(32))) == 32 * 60
    assert pool.drain(10)
    pool.close()
    assert driver.violations == []
    assert driver.peak_mb <= limits.memory_mb
    assert driver.sandboxes == [] and pool.stats().size == 0


def test_lease_blocks_until_one_comes_back() -> None:
    driver = FakeDriver()
    pool = Pool(driver, PoolLimits(max_sandboxes=1))
    lease = pool.lease(make_spec(), FAR)
    lease.run(call(), b"{}", FAR)
    with ThreadPoolExecutor(1) as thread:
        second = thread.submit(pool.lease, make_spec(), FAR)
        lease.release()
        assert second.result(10).sandbox is lease.sandbox
    second.result().release()
    pool.close()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("nimbus-pool")]


def test_cancel_from_another_thread() -> None:
    driver = FakeDriver()
    pool = Pool(driver, PoolLimits())
    started = threading.Event()

    def hang(sandbox: FakeSandbox) -> None:
        started.set()
        sandbox.died.wait()

    driver.on_invoke = hang
    with ThreadPoolExecutor(1) as thread, pool.lease(make_spec(), FAR) as lease:
        outcome = thread.submit(lease.run, call("x"), b"{}", FAR)
        assert started.wait(10) and pool.cancel("x")
        assert outcome.result(10).status is Status.CANCELLED
    pool.close()


def test_an_event_loop_can_wait() -> None:
    pool = Pool(FakeDriver(), PoolLimits())

    async def ask() -> Lease:
        loop = asyncio.get_running_loop()
        came: asyncio.Future[Waiter] = loop.create_future()
        pool.ask(make_spec(), FAR, lambda waiter: loop.call_soon_threadsafe(came.set_result, waiter))
        return (await asyncio.wait_for(came, 10)).result()

    asyncio.run(ask()).release()
    pool.close()
