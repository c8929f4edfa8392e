"""The pool: who gets which sandbox, and how many a function comes to have."""

from __future__ import annotations

import pytest

from functions.spec import FunctionSpec
from invocations.outcome import StartKind
from tests.fakes import make_spec
from tests.unit.pool_bench import BOOT_SEC, Bench, Make, make
from workers.sandbox import SandboxError

__all__ = ["make"]


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
