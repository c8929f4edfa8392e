"""Ends in the pool: cancelled, evicted, past a deadline, drained, closed."""

from __future__ import annotations

import pytest

from invocations.outcome import ErrorType, Fault, StartKind, Status
from nimbus_project.config import Config
from tests.fakes import make_spec
from tests.unit.pool_bench import FAR, Make, make
from workers.pool import PoolClosed, PoolLimits, PoolTimeout, Waiter

__all__ = ["make"]


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
