"""The pool when boots, loads, runs and burials fail: who hears of it, and what it costs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from invocations.outcome import ErrorType, StartKind
from tests.fakes import BROKEN, FakeSandbox, make_spec
from tests.unit.pool_bench import Make, make, sandbox_of
from workers.sandbox import SandboxError

__all__ = ["make"]


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
