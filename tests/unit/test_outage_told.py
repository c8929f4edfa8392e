"""An outage is told when it begins, now and then while it lasts, and when it is over: however often it is met."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from nimbus_project.core.outage import TOLD_EVERY_SEC, Outage

log = logging.getLogger("nimbus.test_outage")
AWAY = ConnectionError("  nobody there\n")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outage(clock: Clock, caplog: pytest.LogCaptureFixture) -> Outage:
    caplog.set_level(logging.WARNING, log.name)
    return Outage(log, "it can't be done", clock)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[Any, ...]]:
    """Message and count, and clear."""
    lines = [(record.getMessage(), record.times) for record in caplog.records]  # type: ignore[attr-defined]
    caplog.clear()
    return lines


def test_it_begins_goes_on_and_is_over(outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    outage.began(AWAY)
    assert caplog.records[0].reason == "ConnectionError: nobody there"  # type: ignore[attr-defined]
    assert told(caplog) == [("it can't be done", 1)]
    for _ in range(100):
        outage.began(AWAY)
    clock.now = TOLD_EVERY_SEC - 0.1
    outage.began(AWAY)
    assert told(caplog) == []
    clock.now = TOLD_EVERY_SEC
    outage.began(AWAY)
    assert told(caplog) == [("it can't be done", 103)]
    clock.now += 1.26
    outage.ended()
    assert caplog.records[0].lasted_sec == 31.3  # type: ignore[attr-defined]
    assert told(caplog) == [("over: it can't be done", 103)]
    outage.ended()
    assert told(caplog) == []


def test_what_never_failed_is_not_over(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.ended()
    assert told(caplog) == []


def test_one_that_comes_and_goes_fills_no_log(outage: Outage, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(100):
        outage.began(AWAY)
        outage.ended()
        clock.now += 0.1
    assert told(caplog) == [("it can't be done", 1), ("over: it can't be done", 1)]
    clock.now = TOLD_EVERY_SEC
    outage.began(AWAY)
    assert told(caplog) == [("it can't be done", 1)]


def test_many_threads_tell_it_once(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: outage.began(AWAY), range(400)))
        assert [line for line, _ in told(caplog)] == ["it can't be done"]
        list(pool.map(lambda _: outage.ended(), range(400)))
    assert told(caplog) == [("over: it can't be done", 400)]


def test_a_long_reason_is_cut(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.began(ValueError("x" * 10_000))
    assert len(caplog.records[0].reason) == 300  # type: ignore[attr-defined]
