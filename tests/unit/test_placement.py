"""`pick` as a table: what a version's callers get, by what the pool holds."""

from __future__ import annotations

import pytest

from tests.fakes import make_spec
from workers.pool.placement import Boot, Decision, Evict, Prewarmed, Spot, View, Wait, Warm, pick

SPEC = make_spec("f", 2, memory_mb=256)
CHANGED = make_spec("f", 2, memory_mb=256, generation=1)
PY = "python3.11"


def warm(
    id: int,
    function: str = "f",
    version: int = 2,
    *,
    mb: int = 256,
    used_at: float = 0.0,
    environment: str = "",
    generation: int = 0,
) -> Spot:
    return Spot(id, PY, "none", mb, used_at, (function, version, environment, generation))


def stock(id: int, mb: int = 256, *, runtime: str = PY, network: str = "none", used_at: float = 0.0) -> Spot:
    return Spot(id, runtime, network, mb, used_at)


def view(
    *spots: Spot, memory_mb: int = 1024, max_sandboxes: int = 8, more_mb: int = 0, more: int = 0, **rest: object
) -> View:
    """A pool that holds these spots, and `more` sandboxes in use."""
    used_mb = sum(s.memory_mb for s in spots) + more_mb
    values: dict[str, object] = {
        "booked_mb": used_mb,
        "held_mb": used_mb,
        "booked": len(spots) + more,
        "idle": tuple(s for s in spots if s.key),
        "stock": tuple(s for s in spots if not s.key),
        "boot_sec": 0.3,
    }
    return View(memory_mb=memory_mb, max_sandboxes=max_sandboxes, **(values | rest))  # type: ignore[arg-type]


FIRST: list[tuple[str, View, Decision]] = [
    ("empty pool", view(), Boot()),
    ("its own, warm", view(stock(1), warm(2)), Warm(2)),
    ("another version is not its own", view(warm(1, version=1)), Boot()),
    ("another function is not its own", view(warm(1, "g")), Boot()),
    ("prewarmed", view(stock(1)), Prewarmed(1)),
    ("prewarmed of the same size first", view(stock(1, 128), stock(2, 256)), Prewarmed(2)),
    ("of equals the oldest", view(stock(1, used_at=5), stock(2, used_at=4)), Prewarmed(2)),
    ("prewarmed of another size grows", view(stock(1, 128)), Prewarmed(1)),
    ("… if the budget lets it", view(stock(1, 128), warm(2, "g", mb=128), memory_mb=300), Evict((2, 1))),
    ("… and nothing dying is in the way", view(stock(1, 128), memory_mb=384, held_mb=384), Boot()),
    ("a larger one shrinks, even in a full pool", view(stock(1, 512), memory_mb=512), Prewarmed(1)),
    ("prewarmed of another runtime", view(stock(1, runtime="nodejs20")), Boot()),
    ("prewarmed of another network", view(stock(1, network="egress")), Boot()),
    ("no memory, nobody idle", view(more_mb=1024, more=4), Wait()),
    ("no place, nobody idle", view(more=8), Wait()),
    ("evict the least recently used", view(warm(1, "g", used_at=9), warm(2, "h", used_at=3), more_mb=512), Evict((2,))),
    (
        "evict an older self first",
        view(warm(1, "g"), warm(2, "f", 1, used_at=9), more_mb=512),
        Evict((2,)),
    ),
    ("a newer version is nobody's leftover", view(warm(1, "g"), warm(2, "f", 3, used_at=9), more_mb=512), Evict((1,))),
    ("evict as many as needed", view(warm(1, "g", mb=128), warm(2, "h", mb=128), memory_mb=256), Evict((1, 2))),
    ("the stock goes last", view(stock(1, runtime="nodejs20"), warm(2, "g", used_at=9), memory_mb=512), Evict((2,))),
    ("… but goes", view(stock(1, runtime="nodejs20"), memory_mb=256), Evict((1,))),
    ("evict for a place", view(warm(1, "g"), max_sandboxes=1), Evict((1,))),
    ("evicting would not do", view(warm(1, "g", mb=128), more_mb=896, more=3), Wait()),
    ("starving: take what there is", view(warm(1, "g", mb=128), more_mb=896, starving=True), Evict((1,))),
    ("starving: reserve", view(more_mb=1024, more=4, starving=True), Evict(())),
    ("… one at a time", view(more_mb=1025, more=4, starving=True), Wait()),
    ("a failing runtime is still tried for its first", view(backing_off=True), Boot()),
]

GROWTH: list[tuple[str, View, Decision]] = [
    ("its boot is coming", view(coming=1), Wait()),
    ("its boot is coming, the stock is quicker", view(stock(1), coming=1), Prewarmed(1)),
    ("the stock may use a promise not begun", view(stock(1, 128), memory_mb=384, more_mb=256, coming=1), Wait()),
    (
        "… which is called off then",
        view(stock(1, 128), memory_mb=384, booked_mb=384, held_mb=128, unbegun_mb=256, coming=1),
        Prewarmed(1),
    ),
    ("unknown: wait and see", view(serving=1, queue=31), Wait()),
    ("unknown: not even from the stock", view(stock(1), serving=1, queue=31), Wait()),
    ("slow: a sandbox each", view(serving=1, queue=1, run_sec=2.0), Boot()),
    ("slow: as many boots as waiters", view(serving=1, queue=2, coming=2, run_sec=2.0), Wait()),
    ("slow: one more than coming", view(serving=1, queue=3, coming=2, run_sec=2.0), Boot()),
    ("31 wait for a 1 ms function: no boot", view(serving=1, queue=31, run_sec=0.001), Wait()),
    ("… one from the stock", view(stock(1), serving=1, queue=31, run_sec=0.001), Prewarmed(1)),
    ("… not two", view(stock(1), serving=2, queue=31, run_sec=0.001), Wait()),
    ("boots cost nothing: a wait too short all the same", view(serving=1, queue=9, run_sec=0.002, boot_sec=0), Wait()),
    ("loading counts", view(serving=1, queue=1, run_sec=0.5, load_sec=0.3), Wait()),
    ("growing evicts too", view(warm(1, "g"), serving=3, more_mb=768, run_sec=2.0), Evict((1,))),
    (
        "wanted without a break: a processor more",
        view(serving=1, queue=7, run_sec=0.001, wanted_sec=1, processors=2),
        Boot(),
    ),
    ("… not for a moment's crowd", view(serving=1, queue=7, run_sec=0.001, wanted_sec=0.1, processors=2), Wait()),
    ("… not beyond the processors", view(serving=2, queue=7, run_sec=0.001, wanted_sec=9, processors=2), Wait()),
    ("… nor what is coming", view(serving=1, coming=1, queue=7, run_sec=0.001, wanted_sec=9, processors=2), Wait()),
    ("growing does not spin on a failing runtime", view(serving=1, run_sec=2.0, backing_off=True), Wait()),
]


@pytest.mark.parametrize(("why", "seen", "expected"), FIRST + GROWTH, ids=[row[0] for row in FIRST + GROWTH])
def test_pick(why: str, seen: View, expected: Decision) -> None:
    assert pick(seen, SPEC) == expected


@pytest.mark.parametrize(
    "other", [warm(1), warm(1, environment="dev", generation=1)], ids=["generation", "environment"]
)
def test_other_secrets_or_environment_are_not_its_own(other: Spot) -> None:
    assert pick(view(other), CHANGED) == Boot()


def test_what_holds_secrets_of_before_goes_first() -> None:
    crowded = view(warm(1, "g"), warm(2, generation=1, environment="dev"), warm(3, used_at=9), more_mb=256)
    assert pick(crowded, CHANGED) == Evict((3,))
