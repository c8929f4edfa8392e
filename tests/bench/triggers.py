"""What strangers call, beside what has a key, in one run: a custom route, webhooks with and without a signature, and
`/invoke`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tests.bench.direct import Span
from tests.bench.figures import Figure
from tests.bench.handlers import HELLO
from tests.bench.load import Load, quantile
from tests.bench.stack import Stack

SECRET = "a secret of the bench"
LEAST = {1: 0.4, 8: 0.4}
"""By callers: of the calls a second that `/invoke` has."""
ROUNDS = 3
"""The machine is not as fast in one second as in the next: all kinds take turns."""
PLAIN = "plain invoke"
SHOWN = ("web-0", "worker-0", "redis", "postgres", "sandboxes")
"""Of whose processors."""


@dataclass(slots=True)
class Kind:
    """What became of one kind of call, turn by turn."""

    loads: list[Load] = field(default_factory=list)
    count: int = 0
    """Of all that used processors."""
    used: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds of processors, by process."""

    def share_of(self, plain: Kind) -> float:
        """Of its calls a second: the median of the turns."""
        return median(mine.per_sec / other.per_sec for mine, other in zip(self.loads, plain.loads, strict=True))

    @property
    def errors(self) -> int:
        return sum(load.errors for load in self.loads)

    def __str__(self) -> str:
        latencies = [one for load in self.loads for one in load.latencies]
        used = {name.removesuffix("-0"): each / self.count * 1e6 for name, each in self.used.items()}
        times = ", ".join(f"{name} {each:.0f}" for name, each in used.items())
        per_sec = median(load.per_sec for load in self.loads)
        p50, p99 = quantile(latencies, 0.5), quantile(latencies, 0.99)
        return f"{per_sec:,.0f}/s, p50 {p50:.2f}, p99 {p99:.2f} ms, {self.errors} errors ({times} µs)"


def triggers(stack: Stack, span: Span) -> list[Figure]:
    """A signed webhook asks Redis for replays, which no other does."""
    calls = _created(stack)
    return [figure for callers in (1, 8) for figure in _compared(stack, span, calls, callers)]


def _compared(stack: Stack, span: Span, calls: dict[str, dict[str, Any]], callers: int) -> list[Figure]:
    kinds: dict[str, Kind] = {name: Kind() for name in calls}
    for turn in range(ROUNDS):
        for name, more in calls.items():
            _take_turn(stack, kinds[name], callers=callers, seconds=span.seconds / 2, warm_up=turn == 0, **more)
    title, least, plain = f"{callers} caller{'s' if callers > 1 else ''}", LEAST[callers], kinds.pop(PLAIN)
    table = [Figure(f"triggers: {PLAIN}, {title}", str(plain), "no error", plain.errors == 0)]
    for name, kind in kinds.items():
        share = kind.share_of(plain)
        ok = kind.errors == 0 and share >= least
        shown = f"{kind}, {share:.2f} × plain"
        table.append(Figure(f"triggers: {name}, {title}", shown, f"≥ {least} × plain, no error", ok))
    return table


def _take_turn(stack: Stack, kind: Kind, *, function: str, **more: Any) -> None:
    """What is written behind belongs to it."""
    stack.settle()
    before, count = stack.cpu_sec(), stack.answers[function]
    kind.loads.append(stack.load(function, **more))
    stack.settle()
    after = stack.cpu_sec()
    kind.count += stack.answers[function] - count
    for name in SHOWN:
        kind.used[name] += after[name] - before[name]


def _created(stack: Stack) -> dict[str, dict[str, Any]]:
    """By kind, how it is called."""
    stack.create("hello", HELLO)
    stack.create("route", HELLO, http_path="/bench/{number}")
    return {
        PLAIN: {"function": "hello"},
        "custom route": {"function": "route", "path": "/bench/7", "secret": ""},
        "webhook, no signature": {"function": "open", "path": _webhook(stack, "open"), "secret": ""},
        "webhook, GitHub's signature": {
            "function": "hook",
            "path": _webhook(stack, "hook", signature={"scheme": "github", "secret": SECRET}),
            "secret": SECRET,
        },
    }


def _webhook(stack: Stack, name: str, **settings: object) -> str:
    """The path of a new function's."""
    stack.create(name, HELLO)
    assert stack.client.put(f"/functions/{name}/webhook", json=settings).status_code == 200
    key: str = stack.client.post(f"/functions/{name}/webhook/enable").json()["webhook_key"]
    return f"/webhook/{key}"
