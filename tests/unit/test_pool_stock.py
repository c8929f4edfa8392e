"""The pool's stock of prewarmed sandboxes: after callers, never in their way."""

from __future__ import annotations

from invocations.outcome import StartKind
from tests.fakes import make_spec
from tests.unit.pool_bench import Bench, Make, make
from workers.pool.ledger import REFILL_AFTER_SEC

__all__ = ["make"]


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
