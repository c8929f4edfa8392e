"""Who is not known yet gets no memory: a body is taken in before its sender is only when it is small."""

from __future__ import annotations

from typing import Any, cast

import pytest

from accounts.door import Door, Recognised
from invocations.dispatch import UNKNOWN_BODY_BYTES
from invocations.express import Express, Habit
from nimbus_project.config import Config

HOST = (b"host", b"localhost:8080")


def headers(length: int) -> list[tuple[bytes, bytes]]:
    return [HOST, (b"content-type", b"application/json"), (b"content-length", b"%d" % length)]


class Memory:
    """A door that has seen one key."""

    def recognise(self, scope: Any, sent: dict[bytes, bytes], right: Any) -> Recognised | None:
        return cast(Recognised, object()) if sent.get(b"x-api-key") == b"known" else None


@pytest.fixture
def express() -> Express:
    return Express(Config(), cast(Any, None), cast(Door, Memory()), frozenset({"localhost"}))


def takes(express: Express, sent: list[tuple[bytes, bytes]], habit: Habit) -> bool:
    return express.takes({"headers": sent}, b"POST", b"/api/v1/functions/hello/invoke", habit)


@pytest.mark.parametrize(("length", "taken"), [(0, True), (UNKNOWN_BODY_BYTES, True), (UNKNOWN_BODY_BYTES + 1, False)])
def test_of_a_stranger_only_a_small_body_is_read_here(express: Express, length: int, taken: bool) -> None:
    habit = Habit()
    assert takes(express, headers(length), habit) is taken
    assert takes(express, [*headers(length), (b"x-api-key", b"wrong")], habit) is taken
    assert habit.who is None


def test_whose_key_is_known_needs_no_small_request_first(express: Express) -> None:
    shown = (b"x-api-key", b"known")
    habit = Habit()
    assert takes(express, [*headers(Config().max_event_bytes), shown], habit)
    assert (habit.who is not None, habit.reference) == (True, "hello")
    assert not takes(express, [*headers(Config().max_event_bytes + 1), shown], Habit())
    assert not takes(express, [*headers(UNKNOWN_BODY_BYTES + 1), shown, (b"idempotency-key", b"k")], Habit())


def test_of_who_was_let_in_on_this_connection_any_that_an_event_may_have(express: Express) -> None:
    known = Habit(headers=headers(10), reference="hello", who=cast(Any, object()))
    assert takes(express, headers(Config().max_event_bytes), known)
    assert not takes(express, headers(Config().max_event_bytes + 1), known)
    # Whose key was taken away since is a stranger again, whatever was sent before.
    known.who = None
    known.headers = headers(UNKNOWN_BODY_BYTES + 1)
    assert not takes(express, headers(UNKNOWN_BODY_BYTES + 1), known)
