"""What an alert does next, told as stories: each line what was measured, and what must follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers import alert_messages
from triggers.alert_policy import (
    Bound,
    Kind,
    Measured,
    Standing,
    State,
    Told,
    decide,
    shown_value,
    threshold_problem,
)

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
TICK = timedelta(seconds=15)
RATE = Bound(Kind.ERROR_RATE, 0.05, 10)
GOOD, BAD = Measured(0.01, 100), Measured(0.5, 100)


class Story:
    """One alert over time."""

    def __init__(self, bound: Bound = RATE) -> None:
        self.bound = bound
        self.standing = Standing(State.OK, False, None)
        self.now = NOW

    def silence(self, seconds: float | None) -> None:
        until = None if seconds is None else self.now + timedelta(seconds=seconds)
        self.standing = Standing(self.standing.state, self.standing.told_firing, until)

    def then(self, measured: Measured) -> tuple[State, Told | None]:
        self.now += TICK
        decision = decide(self.bound, measured, self.standing, self.now)
        told = self.standing.told_firing if decision.told_firing is None else decision.told_firing
        self.standing = Standing(decision.state, told, self.standing.silenced_until)
        return decision.state, decision.tell


def test_it_fires_once_and_resolves_once() -> None:
    story = Story()
    assert story.then(GOOD) == (State.OK, None)
    assert story.then(BAD) == (State.FIRING, Told.FIRING)
    for _ in range(20):
        assert story.then(BAD) == (State.FIRING, None)
    assert story.then(GOOD) == (State.RESOLVED, Told.RESOLVED)
    assert story.then(GOOD) == (State.RESOLVED, None)
    assert story.then(BAD) == (State.FIRING, Told.FIRING)


def test_what_begins_while_it_is_silenced_is_told_when_that_ends() -> None:
    story = Story()
    story.silence(60)
    assert story.then(BAD) == (State.FIRING, None)
    assert story.then(BAD) == (State.FIRING, None)
    story.silence(None)
    assert story.then(BAD) == (State.FIRING, Told.FIRING)
    assert story.then(BAD) == (State.FIRING, None)


def test_a_silence_ends_by_itself() -> None:
    story = Story()
    story.silence(31)
    assert [story.then(BAD)[1] for _ in range(4)] == [None, None, Told.FIRING, None]
    story = Story()
    story.silence(30)
    assert [story.then(BAD)[1] for _ in range(3)] == [None, Told.FIRING, None], "at its end it is over"


def test_what_comes_and_goes_while_it_is_silenced_is_never_told() -> None:
    story = Story()
    story.silence(600)
    assert [story.then(one) for one in (BAD, GOOD)] == [(State.FIRING, None), (State.RESOLVED, None)]
    story.silence(None)
    assert story.then(GOOD) == (State.RESOLVED, None)


def test_what_was_told_and_ends_while_it_is_silenced_is_told_afterwards() -> None:
    story = Story()
    story.then(BAD)
    story.silence(600)
    assert [story.then(one)[1] for one in (GOOD, BAD, GOOD)] == [None, None, None]
    story.silence(None)
    assert story.then(GOOD) == (State.RESOLVED, Told.RESOLVED)


def test_few_runs_say_nothing() -> None:
    story = Story()
    assert story.then(Measured(1.0, 9)) == (State.OK, None)
    assert story.then(Measured(1.0, 10)) == (State.FIRING, Told.FIRING)
    assert story.then(Measured(1.0, 9)) == (State.RESOLVED, Told.RESOLVED)
    assert story.then(Measured()) == (State.RESOLVED, None)


@pytest.mark.parametrize("kind", [Kind.DEAD_LETTERS, Kind.QUEUE_AGE_SEC])
def test_counts_need_no_samples(kind: Kind) -> None:
    story = Story(Bound(kind, 0, 50))
    assert story.then(Measured(0.0, 0)) == (State.OK, None)
    assert story.then(Measured()) == (State.OK, None)
    assert story.then(Measured(1.0, 1)) == (State.FIRING, Told.FIRING)


@pytest.mark.parametrize(("value", "fires"), [(0.05, False), (0.0500001, True), (0.0, False), (1.0, True)])
def test_over_is_above(value: float, fires: bool) -> None:
    assert (decide(RATE, Measured(value, 50), Standing(State.OK, False, None), NOW).state == State.FIRING) is fires


def test_reasons_say_what_was_measured() -> None:
    standing = Standing(State.OK, False, None)
    assert decide(RATE, BAD, standing, NOW).reason == "50 % is over the threshold of 5 %, of 100 runs."
    assert decide(RATE, Measured(1.0, 1), standing, NOW).reason == "1 run, 10 are needed to judge."
    slow = Bound(Kind.P95_MS, 200, 1)
    assert decide(slow, Measured(150.25, 3), standing, NOW).reason.startswith("150.2 ms is not over")
    letters = Bound(Kind.DEAD_LETTERS, 3, 1)
    assert decide(letters, Measured(4, 4), standing, NOW).reason == "4 is over the threshold of 3."
    assert shown_value(Kind.QUEUE_AGE_SEC, 61.4) == "61.4 s"


@pytest.mark.parametrize(
    ("kind", "threshold", "good"),
    [
        (Kind.ERROR_RATE, 0, True), (Kind.ERROR_RATE, 0.999, True), (Kind.ERROR_RATE, 1, False),
        (Kind.COLD_START_RATE, 5, False), (Kind.ERROR_RATE, -0.1, False), (Kind.P95_MS, 5000, True),
        (Kind.P95_MS, -1, False), (Kind.DEAD_LETTERS, 1e9, False), (Kind.QUEUE_AGE_SEC, 0, True),
    ],
)  # fmt: skip
def test_thresholds(kind: Kind, threshold: float, good: bool) -> None:
    assert (threshold_problem(kind, threshold) == "") is good


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_channels_never_hear_the_same_twice(ticks: list[tuple[bool, bool]]) -> None:
    """Whatever comes, they hear firing and resolved in turn, and in the end, unsilenced, what is true."""
    story, heard = Story(), []
    for is_bad, is_silenced in ticks:
        story.silence(3600 if is_silenced else None)
        _, tell = story.then(BAD if is_bad else GOOD)
        assert not (is_silenced and tell)
        heard += [tell] if tell else []
    assert heard == [Told.FIRING if n % 2 == 0 else Told.RESOLVED for n in range(len(heard))]
    story.silence(None)
    _, tell = story.then(BAD)
    heard += [tell] if tell else []
    assert heard[-1] is Told.FIRING


# -- what is said

MESSAGE = {
    "id": "1", "alert": "a-1", "alert_id": "2", "state": "firing", "kind": "error_rate", "function": "hello",
    "value": 0.5, "threshold": 0.05, "samples": 100, "window_sec": 300, "reason": "50 % <is> & over.",
    "at": "2026-01-31T12:00:00Z",
}  # fmt: skip


def test_a_webhook_is_sent_all_of_it() -> None:
    assert orjson.loads(alert_messages.webhook_body(MESSAGE)) == MESSAGE


def test_slack_hears_its_own_words() -> None:
    said = orjson.loads(alert_messages.slack_body(MESSAGE))
    assert list(said) == ["text"]
    assert "*a-1 fires*" in said["text"] and "the function hello" in said["text"]
    assert "&lt;is&gt; &amp; over" in said["text"] and "<" not in said["text"]
    every = {key: value for key, value in MESSAGE.items() if key != "function"} | {"state": "resolved"}
    assert "all functions" in alert_messages.slack_body(every).decode()


def test_mail_has_a_subject_of_one_line() -> None:
    subject, text = alert_messages.mail(MESSAGE | {"state": "test"})
    assert subject == "[Nimbus] a-1 is being tested"
    assert "Error rate of the function hello: 50 % <is> & over." in text and text.endswith("\n")
