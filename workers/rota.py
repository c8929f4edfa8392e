"""Whose turn is it? Which function's waiting rows a worker takes next. Pure: the clock comes in as an argument.

Fair across functions, whatever each has waiting: the one with the fewest runs here goes first, among equals the one
whose turn was longest ago. And one function does not fill the room: it may run as long as it has fewer than SHARE times
as many runs as places are free, which is three quarters when it is alone ("dynamic thresholds": Choudhury and Hahne,
IEEE/ACM ToN 6(2), 1998). So another one finds a place at once, however long the first one's runs take.
"""

from __future__ import annotations

from dataclasses import dataclass

SHARE = 3
REMEMBERED = 4096
"""Turns of those who wait no more: who comes back at once has had its turn all the same."""


@dataclass(slots=True)
class _Waiting:
    not_before: float = 0.0
    """At its own limit: not to be tried before."""
    news: int = 0
    """Number of the last news that it has rows."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A place that is taken; give it back with one of `Rota`'s ends."""

    subject: str
    news: int


class Rota:
    """The books of one worker's room for one kind of work. Not thread-safe. Times are seconds of any one clock."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._waiting: dict[str, _Waiting] = {}
        self._running: dict[str, int] = {}
        self._last_turn: dict[str, int] = {}
        self._turns = 0
        self._news = 0

    @property
    def free(self) -> int:
        return self.room - sum(self._running.values())

    def note(self, subject: str) -> None:
        """There may be rows of it."""
        self._news += 1
        self._waiting.setdefault(subject, _Waiting()).news = self._news

    def next(self, now: float) -> Turn | None:
        """Take a place for whose turn it is. None: nobody's, or no room."""
        chosen = self._chosen(now)
        if chosen is None:
            return None
        self._turns += 1
        self._last_turn.pop(chosen, None)
        self._last_turn[chosen] = self._turns
        if len(self._last_turn) > REMEMBERED:
            # The longest ago: a dict keeps the order of what was put in.
            del self._last_turn[next(iter(self._last_turn))]
        self._running[chosen] = self._running.get(chosen, 0) + 1
        return Turn(chosen, self._waiting[chosen].news)

    def has_turn(self, now: float) -> bool:
        """Whether `next` would give one."""
        return self._chosen(now) is not None

    def ended(self, turn: Turn) -> None:
        """A row was run; there may be more."""
        self._leave(turn)

    def found_none(self, turn: Turn) -> None:
        """It had no row, unless news came since the turn was given."""
        waiting = self._waiting.get(turn.subject)
        if waiting is not None and waiting.news == turn.news:
            del self._waiting[turn.subject]
        self._leave(turn)

    def put_off(self, turn: Turn, until: float) -> None:
        """It has rows, but must not be tried before."""
        if waiting := self._waiting.get(turn.subject):
            waiting.not_before = until
        self._leave(turn)

    def free_again(self, subject: str) -> None:
        """Why it was put off is over."""
        if waiting := self._waiting.get(subject):
            waiting.not_before = 0.0

    def _chosen(self, now: float) -> str | None:
        free = self.free
        if free <= 0:
            return None
        candidates = [
            (self._running.get(subject, 0), self._last_turn.get(subject, 0), subject)
            for subject, waiting in self._waiting.items()
            if waiting.not_before <= now and self._running.get(subject, 0) < SHARE * free
        ]
        return min(candidates)[2] if candidates else None

    def _leave(self, turn: Turn) -> None:
        left = self._running[turn.subject] - 1
        if left:
            self._running[turn.subject] = left
        else:
            del self._running[turn.subject]
