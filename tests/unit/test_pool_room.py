"""The pool's room: what is evicted for whom, and who may not be starved of it."""

from __future__ import annotations

from invocations.outcome import StartKind
from tests.fakes import make_spec
from tests.unit.pool_bench import Make, make
from workers.pool.ledger import PATIENCE_SEC

__all__ = ["make"]


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
