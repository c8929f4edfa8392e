"""Fire times against tables worked out by hand, with the clock as an argument.

The changes of 2026 (tz database): Berlin leaps 02:00 → 03:00 on 29 March (01:00 UTC) and goes back 03:00 → 02:00 on
25 October (01:00 UTC); New York 02:00 → 03:00 on 8 March (07:00 UTC), 02:00 → 01:00 on 1 November (06:00 UTC); Lord
Howe moves by half an hour: 02:00 → 01:30 on 5 April (15:00 UTC the day before), 02:00 → 02:30 on 4 October (15:30 UTC
the day before). St. John's leaps 02:00 → 03:00, and Havana at midnight: 00:00 → 01:00 on 8 March (05:00 UTC).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers import schedule
from triggers.schedule import Cron, CronError, fires, last_fire, next_fire, next_fires, parse, plan

BERLIN, NEW_YORK, LORD_HOWE, HAVANA = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana"


def utc(text: str) -> datetime:
    """``03-29 01:00`` or ``03-29 01:00:30`` of 2026."""
    return datetime.fromisoformat(f"2026-{text}+00:00")


# Expression, zone, from when, fire times in UTC.
TABLE: dict[str, tuple[str, str, str, list[str]]] = {
    # -- Berlin, spring: 02:30 is not on the clock on the 29th.
    "a time in the gap is passed over": (
        *("30 2 * * *", BERLIN, "03-28 00:00"),
        ["03-28 01:30", "03-30 00:30", "03-31 00:30"],
    ),
    "the gap's first minute belongs to it": (
        *("0 2 * * *", BERLIN, "03-28 00:00"),
        ["03-28 01:00", "03-30 00:00"],
    ),
    "the gap's end does not": (
        *("0 3 * * *", BERLIN, "03-28 00:00"),
        ["03-28 02:00", "03-29 01:00", "03-30 01:00"],
    ),
    "hourly goes from one to three": (
        *("0 * * * *", BERLIN, "03-28 23:30"),
        ["03-29 00:00", "03-29 01:00", "03-29 02:00"],
    ),
    "every half hour too": (
        *("*/30 * * * *", BERLIN, "03-29 00:15"),
        ["03-29 00:30", "03-29 01:00", "03-29 01:30"],
    ),
    "every second, over the gap": (
        *("*/1 * * * * *", BERLIN, "03-29 00:59:57"),
        ["03-29 00:59:58", "03-29 00:59:59", "03-29 01:00:00", "03-29 01:00:01"],
    ),
    "a list of hours loses the one in the gap": (
        *("0 1,2,3 * * *", BERLIN, "03-28 12:00"),
        ["03-29 00:00", "03-29 01:00", "03-29 23:00"],
    ),
    # -- Berlin, autumn: 02:00–03:00 is on the clock twice, from 00:00 and from 01:00 UTC.
    "a time that comes twice fires at its first coming": (
        *("30 2 * * *", BERLIN, "10-24 00:15"),
        ["10-24 00:30", "10-25 00:30", "10-26 01:30"],
    ),
    "its first minute too": (
        *("0 2 * * *", BERLIN, "10-24 12:00"),
        ["10-25 00:00", "10-26 01:00"],
    ),
    "not when the clock is asked between the two": (
        *("30 2 * * *", BERLIN, "10-25 00:45"),
        ["10-26 01:30"],
    ),
    "nor in the second hour": (
        *("30 2 * * *", BERLIN, "10-25 01:15"),
        ["10-26 01:30"],
    ),
    "three o'clock comes once, after both": (
        *("0 3 * * *", BERLIN, "10-24 12:00"),
        ["10-25 02:00", "10-26 02:00"],
    ),
    "hourly is a rhythm: it goes on": (
        *("0 * * * *", BERLIN, "10-24 22:30"),
        ["10-24 23:00", "10-25 00:00", "10-25 01:00", "10-25 02:00", "10-25 03:00"],
    ),
    "so is every half hour": (
        *("*/30 * * * *", BERLIN, "10-25 00:15"),
        ["10-25 00:30", "10-25 01:00", "10-25 01:30", "10-25 02:00"],
    ),
    "every second, from the first showing into the second": (
        *("*/1 * * * * *", BERLIN, "10-25 00:59:57"),
        ["10-25 00:59:58", "10-25 00:59:59", "10-25 01:00:00", "10-25 01:00:01"],
    ),
    "every second, out of the second showing": (
        *("* * * * * *", BERLIN, "10-25 01:59:58"),
        ["10-25 01:59:59", "10-25 02:00:00"],
    ),
    "minutes of one hour are a rhythm too, as in cron": (
        *("*/30 2 * * *", BERLIN, "10-24 12:00"),
        ["10-25 00:00", "10-25 00:30", "10-25 01:00", "10-25 01:30", "10-26 01:00"],
    ),
    "a rhythm that is due in the second showing only": (
        *("10 * * * *", BERLIN, "10-25 00:20"),
        ["10-25 01:10", "10-25 02:10"],
    ),
    "a list of hours is none": (
        *("0 1,2,3 * * *", BERLIN, "10-24 12:00"),
        ["10-24 23:00", "10-25 00:00", "10-25 02:00", "10-26 00:00"],
    ),
    # -- New York
    "New York in spring": (
        *("30 2 * * *", NEW_YORK, "03-07 00:00"),
        ["03-07 07:30", "03-09 06:30"],
    ),
    "New York, hourly in spring": (
        *("0 * * * *", NEW_YORK, "03-08 05:30"),
        ["03-08 06:00", "03-08 07:00", "03-08 08:00"],
    ),
    "New York in autumn": (
        *("30 1 * * *", NEW_YORK, "10-31 00:00"),
        ["10-31 05:30", "11-01 05:30", "11-02 06:30"],
    ),
    "New York, every quarter of an hour in autumn": (
        *("*/15 * * * *", NEW_YORK, "11-01 05:40"),
        ["11-01 05:45", "11-01 06:00", "11-01 06:15", "11-01 06:30", "11-01 06:45", "11-01 07:00"],
    ),
    "New York, working days at nine: the same hour on both sides": (
        *("0 9 * * MON-FRI", NEW_YORK, "03-06 00:00"),
        ["03-06 14:00", "03-09 13:00", "03-10 13:00"],
    ),
    # -- Lord Howe, whose clock moves by half an hour
    "Lord Howe in autumn: 01:30 comes twice": (
        *("30 1 * * *", LORD_HOWE, "04-03 20:00"),
        ["04-04 14:30", "04-05 15:00", "04-06 15:00"],
    ),
    "Lord Howe in autumn: 01:15 comes once": (
        *("15 1 * * *", LORD_HOWE, "04-03 20:00"),
        ["04-04 14:15", "04-05 14:45"],
    ),
    "Lord Howe, every quarter: 1:30 and 1:45 again": (
        *("*/15 * * * *", LORD_HOWE, "04-04 14:20"),
        ["04-04 14:30", "04-04 14:45", "04-04 15:00", "04-04 15:15", "04-04 15:30"],
    ),
    "Lord Howe, hourly: an hour and a half from one to two": (
        *("0 * * * *", LORD_HOWE, "04-04 13:30"),
        ["04-04 14:00", "04-04 15:30", "04-04 16:30"],
    ),
    "Lord Howe in spring: 02:00 and 02:15 are not there": (
        *("15 2 * * *", LORD_HOWE, "10-02 20:00"),
        ["10-04 15:15"],
    ),
    "Lord Howe in spring: 02:30 is": (
        *("30 2 * * *", LORD_HOWE, "10-02 20:00"),
        ["10-03 15:30", "10-04 15:30"],
    ),
    "Lord Howe, hourly in spring: half an hour less to three": (
        *("0 * * * *", LORD_HOWE, "10-03 14:00"),
        ["10-03 14:30", "10-03 16:00", "10-03 17:00"],
    ),
    # -- Havana, where the gap is at midnight
    "Havana: the day without a midnight": (
        *("0 0 * * *", HAVANA, "03-07 04:00"),
        ["03-07 05:00", "03-09 04:00"],
    ),
    # -- without changes
    "UTC knows none": (
        *("30 2 * * *", "UTC", "03-28 12:00"),
        ["03-29 02:30", "03-30 02:30"],
    ),
    "seconds first": (
        *("15,45 0 12 * * *", "UTC", "01-01 00:00"),
        ["01-01 12:00:15", "01-01 12:00:45", "01-02 12:00:15"],
    ),
    "five fields fire at second 0": (
        *("* * * * *", "UTC", "01-01 00:00:01"),
        ["01-01 00:01", "01-01 00:02"],
    ),
    "strictly later than asked from": (
        *("* * * * *", "UTC", "01-01 00:01:00"),
        ["01-01 00:02"],
    ),
    "either day field is enough when both are given": (
        *("0 0 13 * FRI", "UTC", "02-01 00:00"),
        ["02-06 00:00", "02-13 00:00", "02-20 00:00"],
    ),
    "names, steps, last days": (
        *("0 0 L FEB,APR *", "UTC", "01-01 00:00"),
        ["02-28 00:00", "04-30 00:00"],
    ),
    "a Kathmandu quarter": (
        *("0 0 * * *", "Asia/Kathmandu", "01-01 00:00"),
        ["01-01 18:15"],
    ),
}


@pytest.mark.parametrize("case", TABLE)
def test_fire_times(case: str) -> None:
    expression, zone, after, expected = TABLE[case]
    found = next_fires(parse(expression, zone), utc(after), len(expected))
    assert found == [utc(text) for text in expected]
    assert all(at.tzinfo is UTC for at in found)


CHANGES = [
    (BERLIN, "03-29 01:00"),
    (BERLIN, "10-25 01:00"),
    (NEW_YORK, "03-08 07:00"),
    (NEW_YORK, "11-01 06:00"),
    (LORD_HOWE, "04-04 15:00"),
    (LORD_HOWE, "10-03 15:30"),
    (HAVANA, "03-08 05:00"),
    (HAVANA, "11-01 05:00"),
]


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_the_clock_is_changed_when_this_table_says(zone: str, change: str) -> None:
    at, info = utc(change), parse("* * * * *", zone).zone
    before, after = ((at + timedelta(seconds=s)).astimezone(info).utcoffset() for s in (-1, 0))
    assert before != after


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_every_minute_is_every_minute_whatever_the_clock_shows(zone: str, change: str) -> None:
    """No minute around a change is left out or fires twice."""
    start = utc(change) - timedelta(hours=5)
    found = next_fires(parse("* * * * *", zone), start, 600)
    assert {later - earlier for earlier, later in pairwise([start, *found])} == {timedelta(minutes=1)}


@given(
    zone=st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, HAVANA, "UTC", "Africa/Casablanca", "Pacific/Apia"]),
    minute=st.sampled_from(["0", "15", "*/20", "1-5", "30,59"]),
    hour=st.sampled_from(["*", "0", "1", "2", "1-3", "*/6"]),
    start=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),  # noqa: DTZ001
)
@settings(max_examples=60, deadline=None)
def test_what_fires_is_on_the_clock_and_in_order(zone: str, minute: str, hour: str, start: datetime) -> None:
    """Against the definition itself: each minute after the start, whether the clock shows a time that matches."""
    cron = parse(f"{minute} {hour} * * *", zone)
    after = start.replace(tzinfo=UTC)
    matches = parse(f"{minute} {hour} * * *", "UTC")
    expected = []
    at = after.replace(second=0, microsecond=0)
    while len(expected) < 3:
        at += timedelta(minutes=1)
        local = at.astimezone(cron.zone)
        wall = local.replace(tzinfo=UTC, fold=0)
        if (cron.is_rhythm or not local.fold) and next_fire(matches, wall - timedelta(seconds=1)) == wall:
            expected.append(at)
    assert next_fires(cron, after, 3) == expected


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "Wrong number of fields"),
        ("* * * *", "Wrong number of fields"),
        ("* * * * * * *", "Wrong number of fields"),
        ("@daily", "Wrong number of fields"),
        ("60 * * * *", "Bad minute"),
        ("60 * * * * *", "Bad second"),
        ("* 24 * * *", "Bad hour"),
        ("* * 0 * *", "Bad day-of-month"),
        ("* * * 13 *", "Bad month"),
        ("* * * * 8", "Bad day-of-week"),
        ("*/0 * * * *", "Bad minute"),
        ("5-1 * * * *", "Bad minute"),
        ("0 12 * * ? *", "Bad month"),
        ("0 0 30 2 *", "Bad day-of-month"),
        ("0 0 */29,30 2 MON#5", "never fires"),
        ("0 0 * * ²", "plain text"),
        ("0 0 * *\n*", "plain text"),
        ("0 0 * * \0", "plain text"),
        ("1," * 200 + "1 * * * *", "at most 255"),
    ],
)
def test_what_is_no_expression(expression: str, says: str) -> None:
    assert says in schedule.expression_problem(expression)
    with pytest.raises(CronError) as caught:
        parse(expression, "UTC")
    assert caught.value.field == "cron_expression"


@given(st.text(alphabet="0123456789*/,-#LW? MONFEB", max_size=30))
@settings(max_examples=500, deadline=None)
def test_whatever_is_written_is_read_or_refused(expression: str) -> None:
    if schedule.expression_problem(expression) == "":
        assert next_fire(parse(expression, "UTC"), utc("01-01 00:00")) is not None


@pytest.mark.parametrize(
    "zone", ["", "Mars/Olympus", "europe/berlin", "../../etc/passwd", "/etc/localtime", "\0", "x" * 99]
)
def test_what_is_no_zone(zone: str) -> None:
    assert "no time zone" in schedule.timezone_problem(zone)
    with pytest.raises(CronError) as caught:
        parse("* * * * *", zone)
    assert caught.value.field == "cron_timezone"


def test_a_time_that_no_clock_of_the_zone_ever_shows() -> None:
    """02:30 on the day of the change only, which is always the last Sunday of March."""
    cron = Cron("30 2 * 3 0L", parse("* * * * *", BERLIN).zone)
    assert next_fire(cron, utc("01-01 00:00")) is None


def test_blanks_do_not_matter() -> None:
    assert parse("  0   2 * * mon ", "UTC").expression == "0 2 * * mon"


class TestPlan:
    """`due_at` is the fire time that the schedule waits for."""

    NOW = utc("06-01 12:00:00")

    def at(self, expression: str, due_at: str, now: str = "06-01 12:00:00", **policy: bool) -> schedule.Plan:
        catch_up = policy.get("catch_up", False)
        return plan(parse(expression, "UTC"), utc(due_at), utc(now), grace_sec=30, catch_up=catch_up)

    def test_on_time(self) -> None:
        found = self.at("0 12 * * *", "06-01 12:00:00", "06-01 12:00:01")
        assert found.fires == (utc("06-01 12:00"),)
        assert (found.missed, found.catch_up, found.last_at) == (0, None, utc("06-01 12:00"))
        assert found.next_at == utc("06-02 12:00")

    def test_late_within_the_grace_each_fires(self) -> None:
        found = self.at("*/10 * * * * *", "06-01 11:59:40")
        assert found.fires == tuple(utc(f"06-01 {t}") for t in ("11:59:40", "11:59:50", "12:00:00"))
        assert found.missed == 0

    def test_the_edge_of_the_grace(self) -> None:
        assert self.at("30 59 11 * * *", "06-01 11:59:30").fires == (utc("06-01 11:59:30"),)
        assert self.at("29 59 11 * * *", "06-01 11:59:29").missed == 1

    @pytest.mark.parametrize("catch_up", [True, False])
    def test_after_an_hour_of_nobody(self, catch_up: bool) -> None:
        found = self.at("*/10 * * * *", "06-01 11:00:00", "06-01 12:05:00", catch_up=catch_up)
        assert found.fires == ()
        assert found.missed_from == utc("06-01 11:00") and found.missed_until == utc("06-01 12:00")
        assert found.missed == (6 if catch_up else 7)
        assert found.catch_up == (utc("06-01 12:00") if catch_up else None)
        assert found.last_at == utc("06-01 12:00") and found.next_at == utc("06-01 12:10")

    def test_one_missed_and_made_up_for_leaves_none(self) -> None:
        found = self.at("0 2 * * *", "06-01 02:00", catch_up=True)
        assert (found.missed, found.catch_up, found.fires) == (0, utc("06-01 02:00"), ())

    def test_missed_ones_and_one_on_time(self) -> None:
        found = self.at("* * * * *", "06-01 11:00", "06-01 12:00:05", catch_up=True)
        assert found.catch_up == utc("06-01 11:59") and found.missed == 59
        assert found.fires == (utc("06-01 12:00"),)

    def test_a_month_of_seconds_is_not_counted_out(self) -> None:
        found = self.at("* * * * * *", "05-01 00:00", catch_up=True)
        assert found.missed == schedule.MAX_COUNTED
        assert found.catch_up == utc("06-01 11:59:29")
        assert len(found.fires) == 31 and found.fires[-1] == self.NOW

    def test_the_last_of_a_few(self) -> None:
        cron = parse("0 0 29 2 *", "UTC")
        leap = datetime(2024, 2, 29, tzinfo=UTC)
        assert last_fire(cron, leap - timedelta(seconds=1), self.NOW) == leap
        assert last_fire(cron, leap, self.NOW) is None

    @given(
        expression=st.sampled_from(["* * * * * *", "*/7 * * * * *", "* * * * *", "*/5 * * * *", "0 */3 * * *"]),
        behind=st.integers(0, 40_000),
        second=st.integers(0, 59),
        catch_up=st.booleans(),
    )
    @settings(max_examples=100, deadline=None)
    def test_nothing_is_lost_and_nothing_is_twice(
        self, expression: str, behind: int, second: int, catch_up: bool
    ) -> None:
        cron = parse(expression, "UTC")
        now = self.NOW + timedelta(seconds=second)
        due_at = next_fire(cron, now - timedelta(seconds=behind + 1))
        assert due_at is not None
        if due_at > now:
            return
        found = plan(cron, due_at, now, grace_sec=30, catch_up=catch_up)
        every = [due_at]
        for at in fires(cron, due_at):
            if at > now:
                break
            every.append(at)
        dealt_with = len(found.fires) + found.missed + (found.catch_up is not None)
        assert dealt_with == len(every) or found.missed == schedule.MAX_COUNTED
        assert list(found.fires) == [at for at in every if at >= now - timedelta(seconds=30)]
        assert found.last_at == every[-1]
        assert found.next_at == next_fire(cron, now)
