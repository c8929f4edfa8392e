"""Pool: the lock, the threads and the driver around the ledger."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from functions.runtimes import RUNTIMES
from functions.spec import FunctionSpec
from workers.pool.actions import Action, Begin, Bury, Grant, PoolClosed, Refuse
from workers.pool.crew import Crew, Threads
from workers.pool.lease import Lease, Waiter
from workers.pool.ledger import WARM, Ledger
from workers.pool.limits import PoolLimits
from workers.pool.slots import Slot, State, loaded_versions, of_before, of_version, outdated
from workers.pool.stats import PoolStats
from workers.sandbox import Sandbox, SandboxDriver, SandboxError

log = logging.getLogger("nimbus.pool")

TICK_SEC = 0.02
"""Between two looks at the queue while somebody waits: a run under way too long is noticed by time alone."""
ROUND_SEC = 1.0
"""Between two rounds of housekeeping while nobody does."""
BURIERS = 2


class Pool:
    """The warm pool of one worker process. Thread-safe; `lease` blocks, `take_warm` and `ask` do not.

    1. A sandbox serves one function version, one call at a time, and is never handed to another.
    2. The limits of all sandboxes held, from the order to boot until `destroy` has returned, stay within the budget.
    3. Callers of one version are served in the order they came; each gets a lease or a SandboxError.
    4. The lock is never held over a call to the driver or a sandbox.
    """

    def __init__(
        self,
        driver: SandboxDriver,
        limits: PoolLimits,
        *,
        clock: Callable[[], float] = time.monotonic,
        boots: Crew | None = None,
        burials: Crew | None = None,
        is_tended: bool = True,
    ) -> None:
        """With `is_tended` a thread calls `tend` regularly; without, the owner does. `clock` is that of deadlines."""
        self.limits = limits
        self.clock = clock
        self.running: dict[str, Slot] = {}
        """By invocation id; kept by the leases."""
        self._driver = driver
        self._lock = threading.Lock()
        self._ledger = Ledger(limits)
        self._seq = 0
        self._boots = boots or Threads("boot", limits.boot_parallel)
        self._burials = burials or Threads("bury", BURIERS)
        self._wake = threading.Event()
        self._quiet = threading.Event()
        self._stopped = threading.Event()
        self._tender = threading.Thread(target=self._tend_on, name="nimbus-pool-tend", daemon=True)
        if is_tended:
            self._tender.start()

    # -- taking

    def lease(self, spec: FunctionSpec, deadline: float) -> Lease:
        """A sandbox for this version, to use in a `with`. Raises PoolTimeout, PoolClosed, SandboxError."""
        warm = self.take_warm(spec)
        if warm is not None:
            return warm
        settled = threading.Event()
        waiter = self.ask(spec, deadline, lambda _: settled.set())
        try:
            in_time = settled.wait(max(0.0, deadline - self.clock()))
        except BaseException:
            self.withdraw(waiter)
            raise
        if not in_time:
            self.withdraw(waiter)
            with self._lock:
                raise self._ledger.timeout_of(waiter, self.clock())
        return waiter.result()

    def take_warm(self, spec: FunctionSpec) -> Lease | None:
        """An idle sandbox of this version, or None at once."""
        while True:
            now = self.clock()
            with self._lock:
                slot = self._ledger.take_warm(spec.key, now)
            if slot is None:
                return None
            sandbox = slot.living
            if _is_alive(sandbox):
                return Lease(self, slot, sandbox, spec, WARM)
            slot.spent = True
            self._return(slot)

    def ask(self, spec: FunctionSpec, deadline: float, on_settled: Callable[[Waiter], object]) -> Waiter:
        """Queue for a sandbox. `on_settled` is called once, from any thread, perhaps before this returns.

        Past the deadline the waiter is refused with PoolTimeout, at the next round of housekeeping.
        """
        now = self.clock()
        self._check(spec)
        with self._lock:
            self._seq += 1
            waiter = Waiter(self._seq, spec, now, deadline, on_settled)
            self._ledger.enqueue(waiter, now)
            actions = self._take_actions()
            is_tending = bool(self._ledger.queues) or self._ledger.refill_at > now
        self._carry_out(actions)
        if is_tending and not self._wake.is_set():
            self._wake.set()
        return waiter

    def withdraw(self, waiter: Waiter) -> None:
        """The caller has gone: no callback from now on, and a lease that came meanwhile is given back."""
        with self._lock:
            waiter.withdrawn = True
            self._ledger.withdraw(waiter, self.clock())
            actions = self._take_actions()
        self._carry_out(actions)
        if waiter.lease is not None:
            waiter.lease.release()

    def _check(self, spec: FunctionSpec) -> None:
        if spec.runtime not in RUNTIMES:
            raise SandboxError(f"there is no runtime {spec.runtime!r}")
        if spec.memory_mb > self.limits.memory_mb:
            raise SandboxError(
                f"{spec.function_name} needs {spec.memory_mb} MB, and this worker's pool has {self.limits.memory_mb} MB"
            )

    # -- for the leases

    def note_loaded(self, lease: Lease) -> None:
        """The lease's sandbox has its code."""
        with self._lock:
            self._ledger.loaded(lease.slot, lease.spec, lease.init_ms / 1000, self.clock())
            actions = self._take_actions()
        self._carry_out(actions)

    def give_back(self, lease: Lease) -> None:
        """The lease has ended. Does nothing the second time."""
        # No look after a clean end (`alive` is a system call): there is one before it is used next.
        alive = _is_alive(lease.sandbox) if lease.slot.spent or not lease.slot.loaded else not lease.sandbox.dead
        now = self.clock()
        with self._lock:
            if not lease.is_open:
                return
            lease.is_open, ledger = False, self._ledger
            ledger.give_back(lease.slot, alive, now)
            if not ledger.actions and not ledger.closed:
                return
            self._note_quiet()
            actions = self._take_actions()
        self._carry_out(actions)

    def _return(self, slot: Slot) -> None:
        """Back without a lease: a dead one that was about to be handed out."""
        with self._lock:
            self._ledger.give_back(slot, False, self.clock())
            self._note_quiet()
            actions = self._take_actions()
        self._carry_out(actions)

    # -- ending runs and sandboxes

    def cancel(self, invocation_id: str) -> bool:
        """Destroy the sandbox that runs this invocation, now. False if none does (any more)."""
        with self._lock:
            # Marked under the lock, while it is still registered: `Lease.run` unregisters before the sandbox is given
            # back, under this lock. So a sandbox that has gone on to another call is never found here, and one found
            # here is never handed on.
            slot = self.running.get(invocation_id)
            if slot is None:
                return False
            slot.cancelled = True
        slot.living.destroy()
        return True

    def evict(self, function_id: str) -> int:
        """Drop this function's sandboxes: the idle at once, the busy when their run ends. The count."""
        return self._evict(lambda slots: of_version(slots, function_id, None))

    def evict_version(self, function_id: str, version: int) -> int:
        """Drop one version's sandboxes, as `evict`."""
        return self._evict(lambda slots: of_version(slots, function_id, version))

    def evict_before(self, function_id: str, generation: int) -> int:
        """Drop the sandboxes that hold secrets and environments of an earlier generation, as `evict`."""
        return self._evict(lambda slots: of_before(slots, function_id, generation))

    def _evict(self, choose: Callable[[list[Slot]], list[Slot]]) -> int:
        with self._lock:
            count = self._ledger.evict(choose(list(self._ledger.slots.values())), self.clock())
            actions = self._take_actions()
        self._carry_out(actions)
        return count

    def drain(self, timeout_sec: float) -> bool:
        """Take no more work, refuse who waits, let the running finish for so long. True when nothing runs."""
        with self._lock:
            self._ledger.closed = True
            self._ledger.refuse_all(PoolClosed("this worker is stopping"))
            self._note_quiet()
            actions = self._take_actions()
        self._carry_out(actions)
        return self._quiet.wait(timeout_sec)

    def close(self, timeout_sec: float = 10.0) -> None:
        """Drain without waiting, destroy every sandbox, join the threads. The driver stays the caller's to close."""
        self.drain(0.0)
        self._stopped.set()
        self._wake.set()
        with self._lock:
            slots = list(self._ledger.slots.values())
            self._ledger.evict(slots, self.clock())
            running = [slot.living for slot in slots if slot.state is State.BUSY]
            actions = self._take_actions()
        self._carry_out(actions)
        for sandbox in running:
            self._burials.submit(sandbox.destroy)
        deadline = time.monotonic() + timeout_sec
        if self._tender.ident is not None:
            self._tender.join(timeout_sec)
        # Boots first: one that ends now still leaves a sandbox to bury.
        self._boots.close(max(0.0, deadline - time.monotonic()))
        self._burials.close(max(0.0, deadline - time.monotonic()))

    def stats(self) -> PoolStats:
        """One consistent snapshot."""
        with self._lock:
            slots = [slot for slot in self._ledger.slots.values() if slot.state is not State.ORDERED]
            states, stock = [slot.state for slot in slots], [s.runtime for s in slots if s.state is State.STOCK]
            return PoolStats(
                size=len(slots),
                warm=states.count(State.IDLE),
                busy=states.count(State.BUSY),
                booting=states.count(State.BOOTING),
                prewarmed={runtime: stock.count(runtime) for runtime in set(stock) | set(self.limits.prewarm)},
                waiting=sum(map(len, self._ledger.queues.values())),
                memory_mb=sum(slot.memory_mb for slot in slots),
                memory_limit_mb=self.limits.memory_mb,
                loaded=loaded_versions(slots),
            )

    # -- the work in the background

    def tend(self) -> None:
        """One round of housekeeping: late waiters, dead and outdated sandboxes, the stock, the queue."""
        with self._lock:
            unused = [s for s in self._ledger.slots.values() if s.state in (State.IDLE, State.STOCK)]
        dead = [slot for slot in unused if not _is_alive(slot.living)]
        now = self.clock()
        with self._lock:
            ledger = self._ledger
            ledger.expire(now)
            # Taken since it was found dead, it is its taker's: he looks for himself.
            ledger.evict([s for s in dead if s.state in (State.IDLE, State.STOCK)], now)
            ledger.evict(outdated(ledger.slots.values(), self.limits, now), now)
            actions = self._take_actions()
        self._carry_out(actions)

    def _tend_on(self) -> None:
        while not self._stopped.is_set():
            try:
                self.tend()
            except Exception:
                log.exception("a round of the pool's housekeeping failed")
            if self._ledger.queues:
                self._stopped.wait(TICK_SEC)
            else:
                self._rest()

    def _rest(self) -> None:
        """Until the next round is due, or somebody waits. Who took from the stock only has it set earlier."""
        until = self.clock() + ROUND_SEC
        while not self._stopped.is_set() and not self._ledger.queues:
            now = self.clock()
            refill_at = self._ledger.refill_at
            left = (min(until, refill_at) if refill_at > now else until) - now
            if left <= 0 or not self._wake.wait(left):
                return
            self._wake.clear()

    def _take_actions(self) -> list[Action]:
        actions, self._ledger.actions = self._ledger.actions, []
        return actions

    def _note_quiet(self) -> None:
        ledger = self._ledger
        if ledger.closed and not any(slot.state is State.BUSY for slot in ledger.slots.values()):
            self._quiet.set()

    def _carry_out(self, actions: list[Action]) -> None:
        if not actions:
            return
        todo = deque(actions)
        while todo:
            match todo.popleft():
                case Grant() as grant:
                    todo.extend(self._grant(grant))
                case Refuse(waiter, error):
                    _refuse(waiter, error)
                case Begin(slot):
                    self._boots.submit(partial(self._boot, slot))
                case Bury(slot):
                    self._burials.submit(partial(self._destroy, slot))

    def _grant(self, grant: Grant) -> list[Action]:
        slot, waiter = grant.slot, grant.waiter
        sandbox = slot.living
        now = self.clock()
        if _is_alive(sandbox):
            lease = Lease(self, slot, sandbox, waiter.spec, grant.start)
            lease.waited_ms = (now - waiter.since) * 1000
            try:
                waiter.grant(lease)
            except Exception:
                # Whoever asked cannot be told (its event loop has closed, say): nobody else would give this back.
                log.exception("a caller could not be handed its sandbox")
                lease.release()
            return []
        with self._lock:
            self._ledger.requeue(grant, now)
            self._note_quiet()
            return self._take_actions()

    def _boot(self, slot: Slot) -> None:
        runtime = RUNTIMES[slot.runtime]
        began = self.clock()
        try:
            if self._ledger.closed:
                raise PoolClosed("this worker is stopping")
            reason = self._driver.available(runtime)
            if reason is not None:
                raise SandboxError(reason)
            deadline = began + self.limits.boot_timeout_sec
            sandbox = self._driver.create(runtime, memory_mb=slot.memory_mb, network=slot.network, deadline=deadline)
        except Exception as error:
            self._boot_failed(slot, error)
            return
        now = self.clock()
        with self._lock:
            recovered = self._ledger.booted(slot, sandbox, now - began, now)
            actions = self._take_actions()
        if recovered:
            log.info("%s sandboxes boot again", runtime.name)
        self._carry_out(actions)

    def _boot_failed(self, slot: Slot, error: Exception) -> None:
        told = error if isinstance(error, SandboxError) else SandboxError(f"{type(error).__name__}: {error}")
        told.__cause__ = told.__cause__ or (error if told is not error else None)
        with self._lock:
            is_new = self._ledger.boot_failed(slot, told, self.clock())
            actions = self._take_actions()
        if is_new and not isinstance(told, PoolClosed):
            log.warning("a %s sandbox did not boot: %s", slot.runtime, told)
        self._carry_out(actions)

    def _destroy(self, slot: Slot) -> None:
        try:
            slot.living.destroy()
        except Exception:
            # Its memory is given back all the same: a pool that shrank with every such error would end up empty.
            # What may be left of the container is the driver's to sweep.
            log.exception("sandbox %s could not be destroyed", slot.living.id)
        with self._lock:
            self._ledger.buried(slot, self.clock())
            actions = self._take_actions()
        self._carry_out(actions)


def _is_alive(sandbox: Sandbox) -> bool:
    try:
        return sandbox.alive
    except Exception:
        log.exception("sandbox %s does not say whether it lives", sandbox.id)
        return False


def _refuse(waiter: Waiter, error: SandboxError) -> None:
    try:
        waiter.refuse(error)
    except Exception:
        # The actions after this one concern others and must be carried out.
        log.exception("a caller could not be told that there is no sandbox")
