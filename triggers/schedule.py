"""Cron expression and time zone -> fire times. Pure: the clock comes in as an argument.

Expressions have 5 fields (minute, hour, day of month, month, day of week) or 6 with seconds first, as `cronsim` reads
them: Debian's cron with ``L``, ``LW`` and ``MON#2``. They mean what the clock on the wall of the zone shows.

**When that clock is changed** (computed here, for every zone that zoneinfo knows):

* A time of day that the clock leaps over in spring does not fire on that day, and
* a time of day that it shows twice in autumn fires once, at its first showing: what AWS documents for EventBridge
  Scheduler (docs.aws.amazon.com/scheduler, "Schedule types", "Daylight savings time").
* An expression whose minute or hour begins with ``*`` is no time of day but a *rhythm*, and goes on through both
  showings, as in cron(8) of Debian ("jobs that run at a particular time … are affected; jobs which are specified with
  wildcards are run based on the new time immediately"). Else ``* * * * *`` would stand still for an hour.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

MAX_EXPRESSION = 255
HORIZON_YEARS = 50
"""What does not fire within so long never does. (A 29th of February on a given weekday comes every 40 years.)"""
MAX_COUNTED = 1000
"""Missed fire times are counted up to here."""

_SECOND = timedelta(seconds=1)
_EXAMPLE = "Give 5 fields (minute hour day month weekday) or 6 with seconds first, such as 0 9 * * MON-FRI."
_ANY_TIME = datetime(2026, 1, 1, tzinfo=UTC)
# Looking back for the latest fire time: further each time that nothing was found.
_LOOKS_BACK = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=367))


class CronError(ValueError):
    """A sentence for whoever wrote it; `field` is ``cron_expression`` or ``cron_timezone``."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression and a zone that make sense. By `parse` only."""

    expression: str
    """As it was given, blanks between fields made one."""
    zone: ZoneInfo

    @property
    def is_rhythm(self) -> bool:
        """Whether its minute or hour begins with ``*``."""
        *_, minute, hour, _, _, _ = self.expression.split()
        return minute.startswith("*") or hour.startswith("*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done now about a schedule that is due."""

    fires: tuple[datetime, ...]
    """Fire times to fire now, ascending."""
    catch_up: datetime | None
    """One of the missed ones to be made up for, the latest."""
    missed: int
    """Fire times that nothing will fire; MAX_COUNTED means: or more."""
    missed_from: datetime | None
    missed_until: datetime | None
    next_at: datetime | None
    """The next one to come; None: never again."""

    @property
    def last_at(self) -> datetime | None:
        """The latest fire time that this deals with."""
        return self.fires[-1] if self.fires else self.missed_until


@lru_cache(maxsize=4096)
def parse(expression: str, timezone: str) -> Cron:
    """Raises CronError."""
    if problem := expression_problem(expression):
        raise CronError("cron_expression", problem)
    if problem := timezone_problem(timezone):
        raise CronError("cron_timezone", problem)
    return Cron(" ".join(expression.split()), ZoneInfo(timezone))


def expression_problem(expression: str) -> str:
    """What is wrong with it, in a sentence; empty when it can be used."""
    if len(expression) > MAX_EXPRESSION:
        return f"Must have at most {MAX_EXPRESSION} characters."
    if not (expression.isascii() and expression.isprintable()):
        return f"Must be plain text. {_EXAMPLE}"
    try:
        walls = CronSim(expression, _ANY_TIME)
    except CronSimError as error:
        return f"{error} in {expression!r}. {_EXAMPLE}"
    return "" if next(walls, None) is not None else f"{expression!r} never fires. {_EXAMPLE}"


def timezone_problem(timezone: str) -> str:
    """As `expression_problem`."""
    return "" if timezone in _zones() else f"There is no time zone {timezone[:64]!r}. Give one as Europe/Berlin or UTC."


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def next_fire(cron: Cron, after: datetime) -> datetime | None:
    """The first fire time later than `after`, in UTC; None when there is none within HORIZON_YEARS."""
    local = after.astimezone(cron.zone)
    found = _first(cron, local.replace(tzinfo=None, fold=0), after)
    if cron.is_rhythm and (turn := _turn_back(local)) is not None:
        # The clock shows this hour once more: what it shows then is behind what it shows now.
        again = _first(cron, turn - _SECOND, after)
        if again is not None and (found is None or again < found):
            return again
    return found


def fires(cron: Cron, after: datetime) -> Iterator[datetime]:
    """Fire times later than `after`, in UTC, ascending."""
    while (at := next_fire(cron, after)) is not None:
        yield at
        after = at


def next_fires(cron: Cron, after: datetime, count: int) -> list[datetime]:
    return list(islice(fires(cron, after), count))


def last_fire(cron: Cron, after: datetime, until: datetime) -> datetime | None:
    """The latest fire time in (after, until], without going through all of them."""
    for width in (*_LOOKS_BACK, until - after):
        since = max(after, until - width)
        found = deque(takewhile(lambda at: at <= until, fires(cron, since)), maxlen=1)
        if found or since == after:
            return found[0] if found else None
    return None


def plan(cron: Cron, due_at: datetime, now: datetime, *, grace_sec: float, catch_up: bool) -> Plan:
    """What to do about a schedule whose next fire time was `due_at`: fire times up to `grace_sec` ago are fired each,
    those from before that were missed, the latest of which may be made up for."""
    since = now - timedelta(seconds=grace_sec)
    just_before = timedelta(microseconds=1)
    due = tuple(takewhile(lambda at: at <= now, fires(cron, max(since, due_at) - just_before)))
    made_up = missed_from = missed_until = None
    missed = 0
    if due_at < since:
        missed = sum(
            1 for _ in islice(takewhile(lambda at: at < since, fires(cron, due_at - just_before)), MAX_COUNTED)
        )
        missed_from, missed_until = due_at, last_fire(cron, due_at - just_before, since - just_before)
        if catch_up:
            made_up, missed = missed_until, missed if missed == MAX_COUNTED else missed - 1
    return Plan(
        fires=due,
        catch_up=made_up,
        missed=missed,
        missed_from=missed_from,
        missed_until=missed_until,
        next_at=next_fire(cron, now),
    )


def _first(cron: Cron, wall: datetime, after: datetime) -> datetime | None:
    """The first instant later than `after` at which the clock shows a matching time later than `wall`."""
    for shown in CronSim(cron.expression, wall):
        if shown.year > wall.year + HORIZON_YEARS:
            return None
        for fold in (0, 1) if cron.is_rhythm else (0,):
            at = shown.replace(tzinfo=cron.zone, fold=fold).astimezone(UTC)
            # A time in the gap: its way to UTC and back does not lead to it.
            if at > after and at.astimezone(cron.zone).replace(tzinfo=None, fold=0) == shown:
                return at
    return None


def _turn_back(local: datetime) -> datetime | None:
    """What the clock will show when it has been turned back, for a time that it shows twice, at its first showing;
    else None."""
    first, second = local.replace(fold=0).utcoffset(), local.replace(fold=1).utcoffset()
    assert first is not None and second is not None
    if local.fold or first <= second:
        return None
    # Somewhere in between the offset changes; to the second.
    low, high = 0, int((first - second).total_seconds())
    now = local.astimezone(UTC)
    while high - low > 1:
        middle = (low + high) // 2
        offset = (now + middle * _SECOND).astimezone(local.tzinfo).utcoffset()
        low, high = (middle, high) if offset == first else (low, middle)
    return (now + high * _SECOND).astimezone(local.tzinfo).replace(tzinfo=None, fold=0, microsecond=0)
