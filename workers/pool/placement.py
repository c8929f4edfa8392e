"""Which sandbox serves the callers who wait for one version? Pure: a frozen view in, a decision out.

Preference: warm of this version -> prewarmed of its runtime and network -> boot, if the budget allows -> evict idle
ones, then boot -> wait. All callers of one version are alike, so the question is asked per version and the answer
goes to the longest waiter.

The pool grows by work, not by the number of callers: a version that has a sandbox gets another only if its last
waiter would wait longer for the present ones than for the new one; or if it keeps those that it has busy without a
break, and they are fewer than the processors.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from functions.spec import FunctionSpec, SpecKey

Key = SpecKey
"""`FunctionSpec.key`: function, version, environment, generation."""

STOCK_SHARE = 0.1
"""Part of a boot that taking a prewarmed sandbox counts as: it is there at once, but has to be replaced.
Counted as free, a fast function with many callers would empty the stock again and again."""

LEAST_GAIN_SEC = 0.02
"""A shorter wait is no reason for another sandbox, however cheap boots are here."""

STEADY_SEC = 0.25
"""A version that has had waiters for so long without a break keeps its sandboxes busy, and where there is another
processor another sandbox is of use: it works while the first one is between two runs."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A sandbox nobody uses."""

    id: int
    runtime: str
    network: str
    memory_mb: int
    used_at: float
    key: Key | None = None
    """The version loaded; None in the stock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The pool as the callers of one version see it. Times in seconds."""

    memory_mb: int
    """The budget."""
    max_sandboxes: int
    booked_mb: int = 0
    """Living and promised: what will be held once the dying are gone and the ordered boots done."""
    booked: int = 0
    held_mb: int = 0
    """Living and dying: what the engine holds now."""
    idle: tuple[Spot, ...] = ()
    stock: tuple[Spot, ...] = ()

    queue: int = 1
    """Callers who wait for this version."""
    serving: int = 0
    """Its sandboxes that run or load now and will come back."""
    coming: int = 0
    """Boots ordered for it."""
    unbegun_mb: int = 0
    """Memory promised to one of those that has not begun and can be called off; 0 if there is none."""
    wanted_sec: float = 0.0
    """How long there has been a queue without a break, since it was last looked at for that."""
    processors: int = 1
    run_sec: float = 0.0
    """How long one run is expected to take; 0 while unknown."""
    boot_sec: float = 0.0
    """Until a boot ordered now would be done."""
    load_sec: float = 0.0
    starving: bool = False
    """Has no sandbox, and its longest waiter has been passed over for too long."""
    backing_off: bool = False
    """Boots of this runtime have just failed."""

    @property
    def overbooked(self) -> bool:
        """Room was promised that busy sandboxes must first give back."""
        return self.booked_mb > self.memory_mb or self.booked > self.max_sandboxes

    def has_room(self, memory_mb: int, count: int = 1) -> bool:
        """Whether so much more may be promised."""
        return self.booked_mb + memory_mb <= self.memory_mb and self.booked + count <= self.max_sandboxes

    def worth(self, cost_sec: float) -> bool:
        """Whether another sandbox at this cost beats waiting for the present ones."""
        sandboxes = self.serving + self.coming
        if sandboxes < self.processors and self.wanted_sec >= STEADY_SEC:
            return True
        return sandboxes == 0 or self.queue * self.run_sec / sandboxes > max(cost_sec, LEAST_GAIN_SEC)


@dataclass(frozen=True, slots=True)
class Warm:
    """Take this one, loaded with the version."""

    id: int


@dataclass(frozen=True, slots=True)
class Prewarmed:
    """Take this one from the stock and load the version."""

    id: int


@dataclass(frozen=True, slots=True)
class Boot:
    """Order a boot."""


@dataclass(frozen=True, slots=True)
class Evict:
    """Destroy these, then boot. For a starving version they may not suffice: the next ones to come back go too."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something changes."""


Decision = Warm | Prewarmed | Boot | Evict | Wait


def pick(view: View, spec: FunctionSpec) -> Decision:
    """What to do for the longest waiter of this version."""
    for spot in view.idle:
        if spot.key == spec.key:
            return Warm(spot.id)
    stocked = _stocked(view, spec)
    if stocked is not None and (view.coming or view.worth(view.load_sec + view.boot_sec * STOCK_SHARE)):
        return Prewarmed(stocked.id)
    if view.coming >= view.queue or not view.worth(view.load_sec + view.boot_sec):
        return Wait()
    if view.backing_off and view.serving + view.coming:
        return Wait()
    return _make_room(view, spec)


def _make_room(view: View, spec: FunctionSpec) -> Decision:
    if view.has_room(spec.memory_mb):
        return Boot()
    if view.overbooked:
        return Wait()
    freed_mb = 0
    victims: list[int] = []
    for spot in victims_in_order(view, spec):
        victims.append(spot.id)
        freed_mb += spot.memory_mb
        if view.has_room(spec.memory_mb - freed_mb, 1 - len(victims)):
            return Evict(tuple(victims))
    return Evict(tuple(victims)) if view.starving else Wait()


def victims_in_order(view: View, spec: FunctionSpec) -> Iterator[Spot]:
    """Whom to evict first: what this function has outgrown, then the least recently used, the stock last."""
    yield from sorted(view.idle, key=lambda s: (not _is_older(s.key, spec.key), s.used_at, s.id))
    yield from sorted(view.stock, key=lambda s: (s.used_at, s.id))


def _is_older(key: Key | None, than: Key) -> bool:
    """Of the same function, and an earlier version or with secrets and environments of before a change."""
    return key is not None and key[0] == than[0] and (key[1] < than[1] or key[3] < than[3])


def _stocked(view: View, spec: FunctionSpec) -> Spot | None:
    """The prewarmed sandbox nearest in size that can become this version within the budget."""
    fitting = [
        spot
        for spot in view.stock
        if spot.runtime == spec.runtime and spot.network == spec.network and _can_grow(view, spec, spot)
    ]
    return min(fitting, key=lambda s: (abs(s.memory_mb - spec.memory_mb), s.used_at, s.id), default=None)


def _can_grow(view: View, spec: FunctionSpec, spot: Spot) -> bool:
    more_mb = max(0, spec.memory_mb - spot.memory_mb)
    if not more_mb:
        return True
    # A boot not begun is called off when its caller is served from the stock: its promise can be used.
    booked_mb = view.booked_mb - view.unbegun_mb
    return booked_mb + more_mb <= view.memory_mb and view.held_mb + more_mb <= view.memory_mb
