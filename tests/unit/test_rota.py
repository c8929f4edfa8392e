"""Whose turn it is: fair, bounded, nobody forgotten."""

from __future__ import annotations

import random

from workers.rota import SHARE, Rota, Turn


def turns(rota: Rota, count: int, now: float = 0.0) -> list[Turn]:
    """As many places as there are, at most `count`."""
    taken = []
    while len(taken) < count and (turn := rota.next(now)) is not None:
        taken.append(turn)
    return taken


def names(taken: list[Turn]) -> str:
    return "".join(turn.subject for turn in taken)


def test_nobody_waits_nobody_has_a_turn() -> None:
    rota = Rota(4)
    assert rota.next(0.0) is None and not rota.has_turn(0.0)


def test_those_who_wait_take_turns() -> None:
    rota = Rota(1)
    for name in "abc":
        rota.note(name)
    order = ""
    for _ in range(7):
        (turn,) = turns(rota, 1)
        order += turn.subject
        rota.ended(turn)
    assert order == "abcabca"


def test_the_one_with_fewest_runs_goes_first() -> None:
    rota = Rota(12)
    rota.note("a")
    slow = turns(rota, 6)
    assert names(slow) == "aaaaaa"
    rota.note("b")
    assert names(turns(rota, 4)) == "bbbb"


def test_no_function_fills_the_room() -> None:
    for room in range(1, 40):
        rota = Rota(room)
        rota.note("a")
        taken = len(turns(rota, room))
        left = room - taken
        assert taken >= SHARE * left, "no place is kept free for nothing"
        assert left >= 1 or room <= SHARE, "somebody else finds one"


def test_beside_a_slow_one_others_find_a_place() -> None:
    rota = Rota(18)
    for name in "abc":
        rota.note(name)
        assert name in names(turns(rota, 18))


def test_a_place_given_back_is_one_to_take() -> None:
    rota = Rota(1)
    rota.note("a")
    (turn,) = turns(rota, 5)
    assert rota.next(0.0) is None
    rota.ended(turn)
    assert rota.next(0.0) is not None


def test_who_has_no_rows_is_left_alone_until_there_is_news() -> None:
    rota = Rota(2)
    rota.note("a")
    (turn,) = turns(rota, 1)
    rota.found_none(turn)
    assert not rota.has_turn(0.0)
    rota.note("a")
    assert rota.has_turn(0.0)


def test_news_while_somebody_looks_are_not_lost() -> None:
    """The row was stored after the look that found none."""
    rota = Rota(2)
    rota.note("a")
    (turn,) = turns(rota, 1)
    rota.note("a")
    rota.found_none(turn)
    assert rota.has_turn(0.0)


def test_who_is_at_its_limit_is_not_tried_before_its_time() -> None:
    rota = Rota(4)
    rota.note("a")
    (turn,) = turns(rota, 1)
    rota.put_off(turn, until=5.0)
    rota.note("a")
    assert not rota.has_turn(4.9)
    assert rota.has_turn(5.0)
    rota.free_again("a")
    assert rota.has_turn(0.0)


def test_who_comes_back_at_once_does_not_push_in() -> None:
    """One that always has one row, and one with a backlog, on a single place."""
    rota = Rota(1)
    rota.note("b")
    order = ""
    for _ in range(6):
        rota.note("a")
        (turn,) = turns(rota, 1)
        order += turn.subject
        if turn.subject == "a":
            rota.found_none(turn)
        else:
            rota.ended(turn)
    assert order == "ababab"


def test_the_books_stay_right_whatever_happens() -> None:
    chance = random.Random(7)
    rota = Rota(9)
    held: list[Turn] = []
    for step in range(20_000):
        rota.note(str(chance.randrange(6000)))
        if chance.random() < 0.6 and (turn := rota.next(float(step))):
            held.append(turn)
        if held and chance.random() < 0.6:
            turn = held.pop(chance.randrange(len(held)))
            chance.choice([rota.ended, rota.found_none, lambda t, at=step + 3.0: rota.put_off(t, at)])(turn)
        assert rota.free == rota.room - len(held) >= 0
    assert len(rota._last_turn) <= 4096
