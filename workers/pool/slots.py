"""Slot: one sandbox's entry in the books. Census: all of them, added up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from workers.pool.limits import PoolLimits
from workers.pool.placement import LEAST_GAIN_SEC, Key, Spot
from workers.sandbox import Sandbox


class State(Enum):
    """Where a slot stands. ORDERED has no container yet; DYING has one until `destroy` has returned."""

    ORDERED = auto()
    BOOTING = auto()
    STOCK = auto()
    IDLE = auto()
    BUSY = auto()
    DYING = auto()


IDLE, BUSY = State.IDLE, State.BUSY
"""For each call's path: Python 3.11 looks members of an enum up by a function of its own."""


@dataclass(slots=True, eq=False)
class Slot:
    """One sandbox, from the order to boot it until it is destroyed. Its memory is booked all that time."""

    id: int
    runtime: str
    network: str
    memory_mb: int
    state: State
    key: Key | None = None
    """The version it is booted for, or belongs to; None in the stock."""
    sandbox: Sandbox | None = None
    since: float = 0.0
    """BUSY: when its run began. While it loads that lies ahead by a boot's time: another sandbox would have to load
    as well, so a load under way is no reason for another until it takes suspiciously long."""
    used_at: float = 0.0
    loaded: bool = False
    spent: bool = False
    """Must not be used again. Written only by the thread that holds the lease."""
    cancelled: bool = False
    retired: bool = False
    """Its version was evicted, or the pool closed, while it was busy: destroyed when it comes back."""

    @property
    def is_coming_back(self) -> bool:
        """Loaded and at work, and to be used again after that."""
        return self.loaded and not (self.retired or self.cancelled)

    @property
    def living(self) -> Sandbox:
        """The sandbox, where the state says there is one."""
        assert self.sandbox is not None
        return self.sandbox

    def spot(self) -> Spot:
        """As placement sees it."""
        return Spot(self.id, self.runtime, self.network, self.memory_mb, self.used_at, self.key)


@dataclass(slots=True)
class Census:
    """The slots, added up. Summed anew whenever one has changed, so that no path can lose a part of the budget."""

    booked_mb: int = 0
    booked: int = 0
    held_mb: int = 0
    held: int = 0
    ordered: int = 0
    booting: int = 0
    stock_boots: int = 0
    """Of those booting, for the stock."""
    idle: list[Spot] = field(default_factory=list)
    stock: list[Spot] = field(default_factory=list)
    busy: dict[Key, list[float]] = field(default_factory=dict)
    """`Slot.since` of the busy that will come back, by version."""

    @classmethod
    def of(cls, slots: Iterable[Slot]) -> Census:
        """Count them."""
        census = cls()
        for slot in slots:
            census._count(slot)
        return census

    def _count(self, slot: Slot) -> None:
        if slot.state is not State.DYING:
            self.booked_mb += slot.memory_mb
            self.booked += 1
        if slot.state is not State.ORDERED:
            self.held_mb += slot.memory_mb
            self.held += 1
        match slot.state:
            case State.ORDERED:
                self.ordered += 1
            case State.BOOTING:
                self.booting += 1
                self.stock_boots += slot.key is None
            case State.STOCK:
                self.stock.append(slot.spot())
            case State.IDLE:
                self.idle.append(slot.spot())
            case State.BUSY if slot.key is not None and not (slot.retired or slot.cancelled):
                self.busy.setdefault(slot.key, []).append(slot.since)


def of_version(slots: Iterable[Slot], function_id: str, version: int | None) -> list[Slot]:
    """Those that hold this function's code (this version's, if one is named)."""
    return [
        slot
        for slot in slots
        if slot.state in (State.IDLE, State.BUSY)
        and slot.key is not None
        and slot.key[0] == function_id
        and version in (None, slot.key[1])
    ]


def is_served_soon(slots: Iterable[Slot], key: Key, waiting: int, run_sec: float) -> bool:
    """Whether the present sandboxes of this version are enough for all who wait, as `View.worth` sees it: then a
    newcomer changes nothing, and many callers of a fast function cost no look at all the books each. A run that takes
    longer than expected is the next round's to notice."""
    serving = 0
    for slot in slots:
        if slot.state is BUSY and slot.key == key and slot.is_coming_back:
            serving += 1
            if waiting * run_sec <= LEAST_GAIN_SEC * serving:
                return True
    return False


def loaded_versions(slots: Iterable[Slot]) -> list[str]:
    """``<function id>:<version>`` of what is warm or runs."""
    return sorted({f"{slot.key[0]}:{slot.key[1]}" for slot in slots if slot.loaded and slot.key is not None})


def of_before(slots: Iterable[Slot], function_id: str, generation: int) -> list[Slot]:
    """Those that were given this function's secrets and environments before they changed."""
    return [slot for slot in of_version(slots, function_id, None) if slot.key is not None and slot.key[3] < generation]


def outdated(slots: Iterable[Slot], limits: PoolLimits, now: float) -> list[Slot]:
    """Unused for too long: idle ones, and what the stock holds beyond its target."""
    unused = [slot for slot in slots if slot.state in (State.IDLE, State.STOCK)]
    surplus = {name: -target for name, target in limits.prewarm.items()}
    for slot in unused:
        if slot.state is State.STOCK and slot.network == "none":
            surplus[slot.runtime] = surplus.get(slot.runtime, 0) + 1
    found = []
    for slot in unused:
        if slot.used_at + limits.idle_sec > now:
            continue
        if slot.state is State.STOCK and slot.network == "none":
            if surplus[slot.runtime] <= 0:
                continue
            surplus[slot.runtime] -= 1
        found.append(slot)
    return found
