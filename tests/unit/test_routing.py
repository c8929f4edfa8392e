"""Weights and the choice of a version: rules, chance, sessions."""

from __future__ import annotations

import random
import timeit
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.routing import as_stored, as_weights, by_chance, by_session, shifted, weights_problem

FUNCTION = "0190c0de-0000-7000-8000-000000000001"
SESSIONS = [f"user-{n}" for n in range(4000)]


def sides(*pairs: tuple[Any, Any]) -> list[dict[str, Any]]:
    return [{"version": version, "weight": weight} for version, weight in pairs]


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (sides((1, 100)), ""),
        (sides((2, 10), (1, 90)), ""),
        (sides((1, 100), (2, 0)), ""),
        ([], "at least one"),
        (sides((1, 90)), "sum to 90"),
        (sides((1, 60), (2, 50)), "sum to 110"),
        (sides((1, 50), (1, 50)), "more than once"),
        (sides((1, 101), (2, -1)), "from 0 to 100"),
        (sides((1, -1), (2, 101)), "from 0 to 100"),
        (sides((1, 50.0), (2, 50)), "integer"),
        (sides((1, True), (2, 99)), "integer"),
        (
            sides(
                (1, "100"),
            ),
            "integer",
        ),
        (
            sides(
                (1, None),
            ),
            "integer",
        ),
        (sides((0, 100)), "positive"),
        (sides((True, 100)), "positive"),
        (sides(("1", 100)), "positive"),
        (sides(*((n, 0) for n in range(1, 101)), (101, 100)), "at most 100"),
    ],
)
def test_weights_are_told_which_rule_they_break(weights: list[dict[str, Any]], says: str) -> None:
    problem = weights_problem(weights)
    assert says in problem and bool(problem) == bool(says)


def test_stored_and_live_forms_are_the_same_in_order_of_versions() -> None:
    assert as_stored(as_weights(sides((7, 10), (2, 90)))) == sides((2, 90), (7, 10))


@pytest.mark.parametrize(("chance", "version"), [(0.0, 1), (0.8999, 1), (0.9, 3), (0.9999999, 3)])
def test_chance_falls_into_the_shares_in_order(chance: float, version: int) -> None:
    assert by_chance(((1, 90), (2, 0), (3, 10)), chance) == version


def test_a_share_of_nothing_gets_nothing() -> None:
    assert {by_chance(((1, 0), (2, 100)), chance) for chance in (0.0, 0.5, 0.999)} == {2}
    assert {by_session(((1, 0), (2, 100), (3, 0)), FUNCTION, "prod", s) for s in SESSIONS[:200]} == {2}


def test_a_session_stays_whatever_the_process() -> None:
    # Written down: a changed hash would move every session of every installation at its next upgrade.
    chosen = [by_session(((1, 50), (2, 50)), FUNCTION, "prod", f"s{n}") for n in range(12)]
    assert chosen == [2, 1, 1, 2, 2, 1, 2, 2, 2, 2, 2, 2]


def test_sessions_split_as_the_weights_say() -> None:
    chosen = [by_session(((1, 75), (2, 20), (3, 5)), FUNCTION, "prod", s) for s in SESSIONS]
    for version, share in ((1, 0.75), (2, 0.20), (3, 0.05)):
        deviation = (len(SESSIONS) * share * (1 - share)) ** 0.5
        assert abs(chosen.count(version) - len(SESSIONS) * share) < 4 * deviation


def test_another_alias_or_function_splits_another_way() -> None:
    half = ((1, 50), (2, 50))
    first = [by_session(half, FUNCTION, "prod", s) for s in SESSIONS]
    for function, alias in ((FUNCTION, "beta"), (FUNCTION[:-1] + "2", "prod")):
        other = [by_session(half, function, alias, s) for s in SESSIONS]
        same = sum(a == b for a, b in zip(first, other, strict=True))
        assert 0.4 < same / len(SESSIONS) < 0.6


@pytest.mark.parametrize("before", [((1, 100),), ((1, 70), (2, 30)), ((2, 20), (5, 80))])
@pytest.mark.parametrize("version", [3, 9])
def test_a_growing_share_draws_sessions_only_to_itself(before: tuple[tuple[int, int], ...], version: int) -> None:
    """Over the steps of a rollout; whole percents of the others may round, which moves few or none."""
    here = [by_session(before, FUNCTION, "prod", s) for s in SESSIONS]
    for percent in (5, 25, 50, 100):
        now = [by_session(shifted(before, version, percent), FUNCTION, "prod", s) for s in SESSIONS]
        away = sum(a == version != b for a, b in zip(here, now, strict=True))
        aside = sum(a != b and b != version for a, b in zip(here, now, strict=True))
        assert away == 0
        assert aside <= len(SESSIONS) * 0.02
        assert len(before) > 1 or aside == 0
        here = now


@given(
    weights=st.lists(st.integers(1, 100), min_size=1, max_size=6),
    version=st.integers(1, 8),
    percent=st.integers(1, 100),
)
def test_shifted_weights_keep_every_rule(weights: list[int], version: int, percent: int) -> None:
    before = tuple((number, weight) for number, weight in enumerate(weights, start=1))
    others = [number for number, _ in before if number != version]
    if percent < 100 and not others:
        with pytest.raises(ValueError):
            shifted(before, version, percent)
        return
    after = shifted(before, version, percent)
    assert weights_problem(as_stored(after)) == ""
    assert dict(after)[version] == percent
    kept = {number: weight for number, weight in before if number in others}
    for number, weight in after:
        if number != version:
            assert abs(weight - (100 - percent) * kept[number] / sum(kept.values())) < 1


def test_a_choice_takes_microseconds() -> None:
    weights = ((1, 90), (2, 10))
    runs = 2000
    seconds = min(timeit.repeat(lambda: by_session(weights, FUNCTION, "prod", "s"), number=runs, repeat=5))
    assert seconds / runs < 50e-6
    assert by_chance(weights, random.Random(1).random()) in (1, 2)
