"""The books of one pool: its sandboxes, its waiters, and what has to be done about them.

Not thread-safe: `Pool` calls every method under its lock. No method touches a driver or a sandbox; what must be done
outside the lock is left in `actions`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from functions.spec import FunctionSpec
from invocations.outcome import StartKind
from workers.pool.actions import Action, Begin, Bury, Grant, PoolClosed, PoolTimeout, Refuse
from workers.pool.limits import PoolLimits
from workers.pool.placement import STEADY_SEC, Boot, Decision, Evict, Key, Prewarmed, View, Wait, Warm, pick
from workers.pool.slots import BUSY, IDLE, Census, Slot, State, is_served_soon
from workers.pool.timing import Backoff, Means, Streaks
from workers.sandbox import Sandbox, SandboxError

if TYPE_CHECKING:
    from workers.pool.lease import Waiter

WARM = StartKind.WARM
FIRST_BOOT_SEC = 0.3
"""Taken for a boot until one was measured."""
REFILL_AFTER_SEC = 0.1
"""What is taken from the stock is replaced so much later: a boot takes a processor, just while the first call runs."""
PATIENCE_SEC = 1.0
"""A version without a sandbox waits so long before those of others are taken from them as they come back.
Shorter would be fairer, but two busy functions in a full pool would then do little but boot."""


class Ledger:
    """Slots, queues and means of one pool."""

    def __init__(self, limits: PoolLimits) -> None:
        self.limits = limits
        self.slots: dict[int, Slot] = {}
        self.queues: dict[Key, deque[Waiter]] = {}
        """Waiters by version, longest first. No version without waiters."""
        self.actions: list[Action] = []
        self.closed = False
        """Nothing is handed out or booted any more."""
        self.boot_sec: Means[str] = Means(FIRST_BOOT_SEC)
        self.load_sec: Means[Key] = Means(0.0)
        self.run_sec: Means[Key] = Means(0.0)
        self.backoff = Backoff()
        self._wanted: Streaks[Key] = Streaks()
        self._idle: dict[Key, list[Slot]] = {}
        self._coming: dict[Key, list[Slot]] = {}
        """Boots ordered for a version, oldest first; never more than it has waiters."""
        self._overbooked = False
        self._next_id = 0
        self.refill_at = 0.0
        """When the stock may be topped up again. One that is taken meanwhile does not put it off any further."""

    # -- callers

    def take_warm(self, key: Key, now: float) -> Slot | None:
        """The most recently used idle sandbox of this version: the others may then grow old and go."""
        idle = self._idle.get(key)
        if not idle or self.closed:
            return None
        slot = idle.pop()
        slot.state = BUSY
        slot.since = now
        return slot

    def enqueue(self, waiter: Waiter, now: float) -> None:
        """The newcomer waits his turn, which may be now."""
        if self.closed:
            self.actions.append(Refuse(waiter, PoolClosed("this worker is stopping")))
            return
        key = waiter.spec.key
        queue = self.queues.setdefault(key, deque())
        queue.append(waiter)
        is_steady = self._wanted.of(key, now) >= STEADY_SEC
        if is_steady or not is_served_soon(self.slots.values(), key, len(queue), self.run_sec.of(key)):
            self.arrange(now)
        if is_steady:
            self._wanted.again(key, now)

    def requeue(self, grant: Grant, now: float) -> None:
        """The sandbox granted had died meanwhile: its waiter is the longest waiting one again."""
        self._bury(grant.slot)
        if self.closed:
            self.actions.append(Refuse(grant.waiter, PoolClosed("this worker is stopping")))
        elif not grant.waiter.withdrawn:
            self.queues.setdefault(grant.waiter.spec.key, deque()).appendleft(grant.waiter)
        self.arrange(now)

    def withdraw(self, waiter: Waiter, now: float) -> bool:
        """Forget a waiter. False if it is not waiting (any more)."""
        queue = self.queues.get(waiter.spec.key, deque())
        if waiter not in queue:
            return False
        queue.remove(waiter)
        self._tidy(waiter.spec.key)
        self.arrange(now)
        return True

    def expire(self, now: float) -> None:
        """Refuse the waiters whose deadline is past."""
        for key, queue in list(self.queues.items()):
            late = [waiter for waiter in queue if waiter.deadline <= now]
            for waiter in late:
                queue.remove(waiter)
                self.actions.append(Refuse(waiter, self.timeout_of(waiter, now)))
            if late:
                self._tidy(key)

    def timeout_of(self, waiter: Waiter, now: float) -> PoolTimeout:
        """The sentence for a caller who waited in vain."""
        census = Census.of(self.slots.values())
        mine = len(census.busy.get(waiter.spec.key, ()))
        return PoolTimeout(
            f"no sandbox came free for {waiter.spec.function_name} in {now - waiter.since:.1f} s: {mine} of its own "
            f"busy, {census.held_mb} of {self.limits.memory_mb} MB and {census.held} of "
            f"{self.limits.max_sandboxes} sandboxes in use"
        )

    def refuse_all(self, error: SandboxError) -> None:
        """Refuse every waiter."""
        for key, queue in list(self.queues.items()):
            self.actions.extend(Refuse(waiter, error) for waiter in queue)
            queue.clear()
            self._tidy(key)

    # -- sandboxes

    def loaded(self, slot: Slot, spec: FunctionSpec, took_sec: float, now: float) -> None:
        """Its code is there. Memory booked for a larger sandbox than the version needs comes free."""
        slot.loaded = True
        slot.since = now
        self.load_sec.add(spec.key, took_sec)
        if slot.memory_mb != spec.memory_mb:
            slot.memory_mb = spec.memory_mb
            self.arrange(now)

    def give_back(self, slot: Slot, alive: bool, now: float) -> None:
        """A lease ended: to the longest waiter of the version, else idle; destroyed if it is no good."""
        key = slot.key
        if key is None or not alive or slot.spent or slot.cancelled or slot.retired or self._overbooked:
            self._bury(slot)
            self.arrange(now)
            return
        if not slot.loaded:
            self._shelve(slot, now)
            self.arrange(now)
            return
        self.run_sec.add(key, now - slot.since)
        slot.used_at = now
        if key in self.queues and not self.closed:
            self._hand_over(key, slot, WARM, now)
            return
        slot.state = IDLE
        self._idle.setdefault(key, []).append(slot)
        if self.queues:
            self.arrange(now)

    def booted(self, slot: Slot, sandbox: Sandbox, took_sec: float, now: float) -> bool:
        """A boot succeeded: to the version it was for, else to the stock. True when the runtime was in trouble."""
        self.boot_sec.add(slot.runtime, took_sec)
        slot.sandbox = sandbox
        slot.used_at = now
        key = slot.key
        if key is not None:
            self._uncome(slot)
        if self.closed:
            self._bury(slot)
        elif key is not None:
            self._hand_over(key, slot, StartKind.COLD, now)
        else:
            slot.state = State.STOCK
        self.arrange(now)
        return self.backoff.worked(slot.runtime)

    def boot_failed(self, slot: Slot, error: SandboxError, now: float) -> bool:
        """A boot failed. Its version's waiters fail with it, all of them, unless they can be served otherwise: asked
        one by one, they would each wait for a boot that fails. True when the cause is new."""
        del self.slots[slot.id]
        is_new = self.backoff.failed(slot.runtime, str(error), now)
        key = slot.key
        if key is not None:
            self._uncome(slot)
            census = Census.of(self.slots.values())
            view = self._view(key, census, now)
            otherwise = pick(view, self.queues[key][0].spec)
            if not (view.serving or view.coming or isinstance(otherwise, Warm | Prewarmed)):
                self.actions.extend(Refuse(waiter, error) for waiter in self.queues.pop(key))
                self._wanted.end(key)
        self.arrange(now)
        return is_new

    def buried(self, slot: Slot, now: float) -> None:
        """It is destroyed, and its memory free."""
        self.slots.pop(slot.id, None)
        self.arrange(now)

    def evict(self, slots: list[Slot], now: float) -> int:
        """Destroy these: the unused at once, the busy when they come back. The count."""
        for slot in slots:
            if slot.state is State.BUSY:
                slot.retired = True
            elif slot.state in (State.IDLE, State.STOCK):
                self._bury(slot)
        self.arrange(now)
        return len(slots)

    # -- the heart: what can be done now?

    def arrange(self, now: float) -> None:
        """Serve the versions that wait, longest waiter first; begin boots there is room for; top up the stock."""
        if self.closed:
            return
        blocked = False
        census = Census.of(self.slots.values())
        for key in sorted(self.queues, key=lambda k: self.queues[k][0].seq):
            while key in self.queues:
                view = self._view(key, census, now)
                decision = pick(view, self.queues[key][0].spec)
                if isinstance(decision, Wait):
                    blocked = blocked or not (view.serving or view.coming)
                    break
                self._follow(key, decision, now)
                census = Census.of(self.slots.values())
        self._relieve()
        self._begin_boots()
        if not blocked:
            self._refill(now)

    def _relieve(self) -> None:
        """Give up what is unused while more is promised than there is, and note whether that was enough.

        It may not have been there to evict when the promise was made: a boot for the stock ends after it.
        """
        census = Census.of(self.slots.values())
        over_mb = census.booked_mb - self.limits.memory_mb
        over = census.booked - self.limits.max_sandboxes
        for spot in sorted(census.idle, key=lambda s: s.used_at) + census.stock:
            if over_mb <= 0 and over <= 0:
                break
            self._bury(self.slots[spot.id])
            over_mb -= spot.memory_mb
            over -= 1
        self._overbooked = over_mb > 0 or over > 0

    def _view(self, key: Key, census: Census, now: float) -> View:
        queue = self.queues[key]
        spec = queue[0].spec
        busy = census.busy.get(key, ())
        coming = self._coming.get(key, ())
        # A run under way tells as much as one that ended: it takes at least so long. The shortest, so that one
        # straggler among quick ones is not taken for the rule.
        elapsed = min((max(0.0, now - since) for since in busy), default=0.0)
        boot_sec = self.boot_sec.of(spec.runtime) * (1 + census.ordered // self.limits.boot_parallel)
        return View(
            memory_mb=self.limits.memory_mb,
            max_sandboxes=self.limits.max_sandboxes,
            booked_mb=census.booked_mb,
            booked=census.booked,
            held_mb=census.held_mb,
            idle=tuple(census.idle),
            stock=tuple(census.stock),
            queue=len(queue),
            serving=len(busy),
            coming=len(coming),
            unbegun_mb=next((s.memory_mb for s in coming if s.state is State.ORDERED), 0),
            wanted_sec=self._wanted.of(key, now),
            processors=self.limits.processors,
            run_sec=max(elapsed, self.run_sec.of(key)),
            boot_sec=boot_sec,
            load_sec=self.load_sec.of(key),
            starving=not busy and not coming and now - queue[0].since >= PATIENCE_SEC,
            backing_off=self.backoff.waits(spec.runtime, now),
        )

    def _follow(self, key: Key, decision: Decision, now: float) -> None:
        match decision:
            case Warm(id):
                slot = self.slots[id]
                self._unidle(slot)
                self._hand_over(key, slot, WARM, now)
            case Prewarmed(id):
                if key in self._coming:
                    self._call_off(key)
                if self.refill_at <= now:
                    self.refill_at = now + REFILL_AFTER_SEC
                self._hand_over(key, self.slots[id], StartKind.PREWARMED, now)
            case Evict(ids):
                for id in ids:
                    self._bury(self.slots[id])
                self._order(key)
            case Boot():
                self._order(key)

    def _hand_over(self, key: Key, slot: Slot, start: StartKind, now: float) -> None:
        """To the longest waiter. Its boot, if one was ordered, is one too many now."""
        waiter = self.queues[key].popleft()
        slot.state = BUSY
        slot.since = now
        if not slot.loaded:
            slot.key = key
            slot.memory_mb = max(slot.memory_mb, waiter.spec.memory_mb)
            slot.since += self.boot_sec.of(slot.runtime)
        self.actions.append(Grant(waiter, slot, start))
        self._tidy(key)

    def _tidy(self, key: Key) -> None:
        """Some waiters left: drop their queue if it is empty, and the boots nobody waits for any more."""
        queue = self.queues.get(key)
        if not queue:
            self.queues.pop(key, None)
            self._wanted.end(key)
        while len(self._coming.get(key, ())) > len(queue or ()):
            self._call_off(key)

    def _call_off(self, key: Key) -> None:
        """One boot less for this version: one that has not begun, else the latest is the stock's."""
        coming = self._coming[key]
        slot = next((s for s in reversed(coming) if s.state is State.ORDERED), coming[-1])
        self._uncome(slot)
        if slot.state is State.ORDERED:
            del self.slots[slot.id]
        slot.key = None

    def _order(self, key: Key) -> None:
        spec = self.queues[key][0].spec
        slot = self._new(spec.runtime, spec.network, spec.memory_mb, State.ORDERED, key)
        self._coming.setdefault(key, []).append(slot)

    def _new(self, runtime: str, network: str, memory_mb: int, state: State, key: Key | None = None) -> Slot:
        self._next_id += 1
        slot = self.slots[self._next_id] = Slot(self._next_id, runtime, network, memory_mb, state, key)
        return slot

    def _begin_boots(self) -> None:
        """In order, and none overtakes: a small one that slips past would keep a large one waiting for ever."""
        for slot in list(self.slots.values()):
            if slot.state is State.ORDERED:
                census = Census.of(self.slots.values())
                if census.booting >= self.limits.boot_parallel or not self._is_held_room(census, slot.memory_mb):
                    return
                slot.state = State.BOOTING
                self.actions.append(Begin(slot))

    def _refill(self, now: float) -> None:
        """One boot is always kept for callers, if more than one may go on at once."""
        if now < self.refill_at:
            return
        for runtime, target in self.limits.prewarm.items():
            while self._stocked(runtime) < target and not self.backoff.waits(runtime, now):
                census = Census.of(self.slots.values())
                memory_mb = self.limits.prewarm_memory_mb
                if census.ordered or census.stock_boots >= max(1, self.limits.boot_parallel - 1):
                    return
                if census.booting >= self.limits.boot_parallel or not self._is_held_room(census, memory_mb):
                    return
                if census.booked_mb + memory_mb > self.limits.memory_mb:
                    return
                self.actions.append(Begin(self._new(runtime, "none", memory_mb, State.BOOTING)))

    def _is_held_room(self, census: Census, memory_mb: int) -> bool:
        return census.held_mb + memory_mb <= self.limits.memory_mb and census.held < self.limits.max_sandboxes

    def _stocked(self, runtime: str) -> int:
        return sum(
            slot.runtime == runtime and slot.network == "none" and slot.key is None
            for slot in self.slots.values()
            if slot.state in (State.STOCK, State.BOOTING)
        )

    def _shelve(self, slot: Slot, now: float) -> None:
        """Given back untouched: it has seen no code, so it is the stock's again."""
        slot.state = State.STOCK
        slot.key = None
        slot.used_at = now
        slot.memory_mb = slot.living.memory_mb

    def _uncome(self, slot: Slot) -> None:
        assert slot.key is not None
        coming = self._coming[slot.key]
        coming.remove(slot)
        if not coming:
            del self._coming[slot.key]

    def _unidle(self, slot: Slot) -> None:
        if slot.key is not None and (idle := self._idle.get(slot.key)) is not None:
            if slot.state is State.IDLE:
                idle.remove(slot)
            # Emptied by `take_warm` it stays, to be filled again; gone for good it goes with its last sandbox.
            if not idle:
                del self._idle[slot.key]

    def _bury(self, slot: Slot) -> None:
        if slot.state is not State.DYING:
            self._unidle(slot)
            slot.state = State.DYING
            self.actions.append(Bury(slot))
