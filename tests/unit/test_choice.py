"""Which worker gets a call: the same for every web process, warm where it can be, nobody above the bound."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invocations.choice import BOUND, choose, ranking

WORKERS = [f"node{n % 3}-{1000 + n}-abc" for n in range(8)]
VERSIONS = [f"function-{n}:{n % 5 + 1}" for n in range(2000)]

workers = st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=8)
version = st.text(max_size=20)


@given(version, workers, st.randoms(use_true_random=False), st.data())
def test_every_web_process_ranks_alike(key: str, ids: list[str], chance: object, data: st.DataObject) -> None:
    warm = data.draw(st.sets(st.sampled_from(ids))) if ids else set()
    ranked = ranking(key, ids, warm)
    assert sorted(ranked) == sorted(ids)
    other = data.draw(st.permutations(ids))
    assert ranking(key, iter(other), frozenset(warm)) == ranked


@given(version, workers.filter(bool), st.data())
def test_one_worker_less_moves_only_its_own_versions(key: str, ids: list[str], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(ids))
    warm = data.draw(st.sets(st.sampled_from(ids)))
    before = ranking(key, ids, warm)
    after = ranking(key, [worker for worker in ids if worker != gone], warm)
    assert after == [worker for worker in before if worker != gone]


def test_versions_are_spread() -> None:
    first = Counter(ranking(version, WORKERS, ())[0] for version in VERSIONS)
    fair = len(VERSIONS) / len(WORKERS)
    assert all(0.7 * fair < first[worker] < 1.3 * fair for worker in WORKERS), first


def test_a_new_worker_takes_its_share_and_no_more() -> None:
    moved = [v for v in VERSIONS if ranking(v, WORKERS, ())[0] != ranking(v, [*WORKERS, "new"], ())[0]]
    assert all(ranking(v, [*WORKERS, "new"], ())[0] == "new" for v in moved)
    assert 0.5 * len(VERSIONS) / 9 < len(moved) < 1.5 * len(VERSIONS) / 9


@given(version, workers, st.data())
def test_where_it_is_warm_comes_first(key: str, ids: list[str], data: st.DataObject) -> None:
    warm = data.draw(st.sets(st.sampled_from(ids))) if ids else set()
    ranked = ranking(key, ids, warm)
    assert set(ranked[: len(warm)]) == warm


def bound(load: dict[str, int]) -> int:
    return math.ceil(BOUND * (sum(load.values()) + 1) / len(load))


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.integers(0, 50), min_size=1, max_size=6), st.data())
def test_all_are_asked_those_with_room_first_and_in_their_order(load: dict[str, int], data: st.DataObject) -> None:
    ranked = data.draw(st.permutations(list(load)))
    chosen = choose(ranked, load)
    assert sorted(chosen) == sorted(ranked)
    if len(ranked) > 1:
        room = [worker for worker in ranked if load[worker] < bound(load)]
        assert room, "somebody is below the average"
        assert chosen == room + [worker for worker in ranked if worker not in room]


@pytest.mark.parametrize("ranked", [[], ["a"]])
def test_few_workers(ranked: list[str]) -> None:
    assert choose(ranked, {"a": 1000}) == ranked
    assert ranking("f:1", ranked, ()) == ranked


def test_a_quiet_version_stays_where_it_is_warm() -> None:
    """One call at a time: always the same worker."""
    for version in VERSIONS[:50]:
        ranked = ranking(version, WORKERS, ())
        assert choose(ranked, dict.fromkeys(WORKERS, 0))[0] == ranked[0]


@pytest.mark.parametrize("calls", [1, 100])
def test_a_hot_version_spreads_and_nobody_is_above_the_bound(calls: int) -> None:
    ranked = ranking("hot:1", WORKERS, {WORKERS[0]})
    assert ranked[0] == WORKERS[0]
    load = dict.fromkeys(WORKERS, 0)
    for _ in range(calls):
        load[choose(ranked, load)[0]] += 1
        assert max(load.values()) <= bound(load)
    assert len([worker for worker in WORKERS if load[worker]]) >= min(calls, math.ceil(len(WORKERS) / BOUND))


def test_a_worker_that_lags_behind_is_passed_over() -> None:
    """It has the calls of before and ends none."""
    load = dict.fromkeys(WORKERS, 1) | {WORKERS[0]: 20}
    assert choose(ranking("f:1", WORKERS, {WORKERS[0]}), load)[-1] == WORKERS[0]


def test_workers_that_this_process_has_no_calls_at_count_as_idle() -> None:
    assert choose(["a", "b"], {}) == ["a", "b"]
    assert choose(["a", "b"], {"a": 4}) == ["b", "a"]
