"""Who is not known yet gets no memory: a body is taken in before its sender is only when it is small."""

from __future__ import annotations

from typing import Any, cast

import pytest

from invocations.express import UNKNOWN_BODY_BYTES, Express, Habit
from nimbus_project.config import Config

HOST = (b"host", b"localhost:8080")


def headers(length: int) -> list[tuple[bytes, bytes]]:
    return [HOST, (b"content-type", b"application/json"), (b"content-length", b"%d" % length)]


@pytest.fixture
def express() -> Express:
    nobody = cast(Any, None)
    return Express(Config(), nobody, nobody, frozenset({"localhost"}))


@pytest.mark.parametrize(("length", "taken"), [(0, True), (UNKNOWN_BODY_BYTES, True), (UNKNOWN_BODY_BYTES + 1, False)])
def test_of_a_stranger_only_a_small_body_is_read_here(express: Express, length: int, taken: bool) -> None:
    assert express.takes(headers(length), Habit()) is taken


def test_of_who_was_let_in_on_this_connection_any_that_an_event_may_have(express: Express) -> None:
    known = Habit(headers=headers(10), reference="hello", who=cast(Any, object()))
    assert express.takes(headers(Config().max_event_bytes), known)
    assert not express.takes(headers(Config().max_event_bytes + 1), known)
    # Whose key was taken away since is a stranger again, whatever was sent before.
    known.who = None
    known.headers = headers(UNKNOWN_BODY_BYTES + 1)
    assert not express.takes(headers(UNKNOWN_BODY_BYTES + 1), known)
