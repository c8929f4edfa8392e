"""The pool with real threads, which wait for events, never for time."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from invocations.outcome import Status
from tests.fakes import FakeDriver, FakeSandbox, make_spec
from tests.unit.pool_bench import FAR, Make, call, make, sandbox_of
from workers.pool import Lease, Pool, PoolLimits, Waiter

__all__ = ["make"]


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
