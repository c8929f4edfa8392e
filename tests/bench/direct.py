"""The direct lane: keys required, PostgreSQL, Redis, each run on record; beside the bare applications of `bare.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.bench import bare
from tests.bench.figures import Figure
from tests.bench.handlers import ECHO, HELLO, HELLO_NODE
from tests.bench.load import Load, quantile
from tests.bench.stack import Stack

EVENT_BYTES = 1_000_000
PAUSE_SEC = 0.2
RENEWED_AT_ONCE = 10
"""Versions of one function: each keeps its sandbox, and a full pool has no stock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """How long and how often."""

    seconds: float
    """Of one burst."""
    first_calls: int
    paced_sec: float
    settled_calls: int
    """After so many memory is looked at, and again after `many_calls`."""
    many_calls: int


QUICK = Span(seconds=2.0, first_calls=8, paced_sec=6.0, settled_calls=10_000, many_calls=30_000)
FULL = Span(seconds=5.0, first_calls=25, paced_sec=12.0, settled_calls=20_000, many_calls=100_000)
LONG = Span(seconds=10.0, first_calls=100, paced_sec=30.0, settled_calls=50_000, many_calls=500_000)


@dataclass(frozen=True, slots=True)
class Floors:
    """Bursts of the bare applications, by kind and callers."""

    loads: dict[tuple[str, int], list[Load]] = field(default_factory=dict)

    def take(self, server: bare.FloorServer, kind: str, callers: int, seconds: float) -> None:
        load = server.load(callers=callers, seconds=seconds)
        assert load.errors == 0, load.statuses
        self.loads.setdefault((kind, callers), []).append(load)

    def per_sec(self, kind: str, callers: int) -> float:
        loads = self.loads[kind, callers]
        return sum(load.count for load in loads) / sum(load.seconds for load in loads)

    def p50(self, kind: str, callers: int) -> float:
        return quantile([ms for load in self.loads[kind, callers] for ms in load.latencies], 0.5)


def warm(stack: Stack, span: Span) -> list[Figure]:
    """Floors, then the platform; the relay before and after it, for a machine's speed drifts."""
    seconds, floors = min(span.seconds, 3.0), Floors()
    stack.create("hello", HELLO)
    stack.create("hello-node", HELLO_NODE, runtime="nodejs20")
    alone = bare.frames(min(span.seconds, 2.0))
    for kind in ("constant", "lease"):
        with bare.floor(kind) as server:
            for callers in (1, 8):
                floors.take(server, kind, callers, seconds)
    with bare.floor("relay") as relay:
        for callers in (1, 8):
            floors.take(relay, "relay", callers, seconds)
        loads = {1: stack.load(callers=1, seconds=span.seconds)}
        loads[8], cpu = _counted(stack, span)
        floors.take(relay, "relay", 8, seconds)
        paced = stack.load(callers=1, seconds=span.paced_sec, pause=PAUSE_SEC)
        paced_floor = relay.load(callers=1, seconds=span.paced_sec, pause=PAUSE_SEC)
    node = stack.load("hello-node", callers=8, seconds=span.seconds)
    # Last: many callers fill the pool.
    for callers in (32, 128):
        loads[callers] = stack.load(callers=callers, seconds=span.seconds)
    return [
        *_floor_lines(alone, floors),
        *_warm_lines(loads),
        *_ratio_lines(loads, floors),
        _at_least("direct: warm sync Node.js, 8 callers", node, 4500),
        *_paced_lines(paced, paced_floor),
        *_cpu_lines(cpu, loads[8]),
    ]


def _counted(stack: Stack, span: Span) -> tuple[Load, dict[str, float]]:
    """Eight callers; and the µs of processors that each process uses for a call, until all is on record."""
    stack.settle()
    before, count = stack.cpu_sec(), stack.answers["hello"]
    load = stack.load(callers=8, seconds=span.seconds)
    stack.settle()
    after, count = stack.cpu_sec(), stack.answers["hello"] - count
    return load, {name: (after[name] - before[name]) / count * 1e6 for name in after}


def _floor_lines(alone: bare.Frames, floors: Floors) -> list[Figure]:
    def shown(kind: str) -> str:
        one, eight = floors.per_sec(kind, 1), floors.per_sec(kind, 8)
        return f"p50 {floors.p50(kind, 1):.2f} ms, {one:,.0f}/s; 8 callers {eight:,.0f}/s"

    return [
        Figure("floor: frame to a Python runner and back", f"ping {alone.ping:.0f} µs, call {alone.call:.0f} µs"),
        Figure("floor: constant answer, same server", shown("constant")),
        Figure("floor: bare ASGI, leases a warm sandbox", shown("lease")),
        Figure("floor: bare ASGI, relay through a worker", shown("relay")),
    ]


_WARM_BARS = {1: (0.0, 4.0), 8: (4000.0, 12.0), 32: (4000.0, 40.0), 128: (3500.0, 150.0)}
"""Callers: least calls a second, most ms at p99."""


def _warm_lines(loads: dict[int, Load]) -> list[Figure]:
    table = []
    for callers, load in loads.items():
        p50, p95, p99 = (load.quantile(q) for q in (0.5, 0.95, 0.99))
        least, most = _WARM_BARS[callers]
        title = f"direct: warm sync Python, {callers} caller{'s' if callers > 1 else ''}"
        shown = f"{load.per_sec:,.0f}/s, p50 {p50:.2f}, p95 {p95:.2f}, p99 {p99:.2f} ms, {load.errors} errors"
        if callers == 1:
            bar, ok = "p50 ≤ 0.8 ms, p99 ≤ 4 ms", p50 <= 0.8 and p99 <= most
        else:
            bar = f"≥ {least:,.0f}/s, no error, p99 ≤ {most:.0f} ms"
            ok = load.per_sec >= least and p99 <= most
        table.append(Figure(title, shown, bar, ok and load.errors == 0))
    spread = loads[32].quantile(0.95) / loads[32].quantile(0.5)
    table.append(Figure("direct: p95 / p50 with 32 callers", f"{spread:.2f}", "≤ 3", spread <= 3))
    return table


def _ratio_lines(loads: dict[int, Load], floors: Floors) -> list[Figure]:
    relay, lease = (loads[8].per_sec / floors.per_sec(kind, 8) for kind in ("relay", "lease"))
    alone = loads[1].quantile(0.5) / floors.p50("relay", 1)
    return [
        Figure("direct: against the bare ASGI relay, 8 callers", f"{relay:.2f} ×", "≥ 0.5 ×", relay >= 0.5),
        Figure("… against the bare ASGI lease, without a worker between", f"{lease:.2f} ×"),
        Figure("… p50 against the relay, 1 caller", f"{alone:.2f} ×"),
    ]


def _at_least(name: str, load: Load, least: float) -> Figure:
    p50, p99 = load.quantile(0.5), load.quantile(0.99)
    shown = f"{load.per_sec:,.0f}/s, p50 {p50:.2f}, p99 {p99:.2f} ms, {load.errors} errors"
    return Figure(name, shown, f"≥ {least:,.0f}/s", load.per_sec >= least and load.errors == 0)


def _paced_lines(load: Load, relay: Load) -> list[Figure]:
    def shown(one: Load) -> str:
        p50, p99 = one.quantile(0.5), one.quantile(0.99)
        return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, {one.count} calls, {one.errors} errors"

    ok = load.quantile(0.5) <= 1.5 and load.errors == 0
    return [
        Figure("direct: one call every 200 ms", shown(load), "p50 ≤ 1.5 ms", ok),
        Figure("… the bare ASGI relay at the same pace", shown(relay)),
    ]


def _cpu_lines(per_call: dict[str, float], load: Load) -> list[Figure]:
    """µs of a call by process."""
    sandboxes = per_call.pop("sandboxes")
    total = sum(per_call.values())
    parts = ", ".join(f"{name} {us:.0f}" for name, us in per_call.items())
    beside = f"{sandboxes:.0f} µs, load generator {load.cpu_sec / load.count * 1e6:.0f} µs"
    return [
        Figure("direct: platform CPU per warm call, 8 callers", f"{total:.0f} µs ({parts})", "≤ 350 µs", total <= 350),
        Figure("… sandboxes beside it", beside),
    ]


def fresh(stack: Stack, span: Span) -> list[Figure]:
    """First calls of new versions, a prewarmed sandbox of their size waiting and nothing else booting."""
    took = []
    for number in range(span.first_calls):
        if number % RENEWED_AT_ONCE == 0:
            stack.clear()
            stack.create("renewed", HELLO)
            stack.invoke("renewed")
        answer = stack.client.put("/functions/renewed", json={"code": f"{HELLO}# {number}\n"})
        assert answer.status_code == 200, answer.text
        stack.wait_calm()
        ms, told = stack.first_call("renewed")
        assert told["start_kind"] == "prewarmed", told
        took.append(ms)
    p50, p99 = quantile(took, 0.5), quantile(took, 0.99)
    shown = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms of {len(took)}"
    return [
        Figure(
            "direct: first call of a new version, prewarmed",
            shown,
            "p50 ≤ 10 ms, p99 ≤ 40 ms",
            p50 <= 10 and p99 <= 40,
        )
    ]


def large(stack: Stack, span: Span) -> list[Figure]:
    """A megabyte in, the same megabyte out."""
    stack.create("echo", ECHO)
    body = '{"data": "' + "x" * (EVENT_BYTES - 12) + '"}'
    load = stack.load("echo", callers=4, seconds=span.seconds, body=body)
    assert load.received >= load.count * EVENT_BYTES, "answers are shorter than what was sent"
    return [_at_least("direct: 1 MB event and 1 MB result, 4 callers", load, 150)]


def memory(stack: Stack, span: Span) -> list[Figure]:
    """Each process after some calls, and after many more."""
    stack.create("hello", HELLO)
    # PostgreSQL's checkpointer maps in its code and makes its tables when it is first needed, which is some time after
    # the first look: a megabyte, once.
    stack.checkpoint()
    first = _after(stack, span.settled_calls)
    last = _after(stack, span.many_calls - span.settled_calls)
    grown = {name: last[name] / mb - 1 for name, mb in first.items() if name in last}
    worst = max(grown, key=grown.__getitem__)
    by_part = ", ".join(f"{name} {first[name]:.1f} → {last[name]:.1f}" for name in grown if "/" not in name)
    shown = f"{worst} {grown[worst] * 100:+.1f} % ({first[worst]:.1f} → {last[worst]:.1f} MB); {by_part}"
    title = f"direct: memory from call {span.settled_calls:,} to {span.many_calls:,}, most grown"
    return [
        Figure(title, shown, "≤ +10 % in each process", grown[worst] <= 0.1),
        Figure("… of so many processes", _compared(first, last)),
    ]


def _compared(first: dict[str, float], last: dict[str, float]) -> str:
    """How many are in both looks, and which in only one: growth of those is not seen."""
    ended = [f"{name} ({first[name]:.1f} MB)" for name in first if name not in last]
    new = [f"{name} ({last[name]:.1f} MB)" for name in last if name not in first]
    told = [f"{len(first) - len(ended)} in both looks"]
    told += [f"ended between them: {', '.join(ended)}"] if ended else []
    told += [f"new: {', '.join(new)}"] if new else []
    return "; ".join(told)


def _after(stack: Stack, calls: int) -> dict[str, float]:
    load = stack.load(callers=8, calls=calls, seconds=600.0, warm_up=False)
    assert load.errors == 0, load.statuses
    stack.settle()
    return stack.own_mb()


def records(stack: Stack) -> list[Figure]:
    """Whether what was answered is on record: to be asked last."""
    rows = stack.settle()
    shown = f"{sum(stack.answers.values()):,} answers, {sum(rows.values()):,} rows"
    return [Figure("direct: answers and their records", shown, "equal", rows == stack.answers)]


def scale(stack: Stack, span: Span) -> list[Figure]:
    """Two web processes and two workers, as `make run WEB=2 WORKERS=2` starts them."""
    stack.create("hello", HELLO)
    table = []
    for callers in (8, 32, 128):
        load = stack.load(callers=callers, seconds=span.seconds)
        p50, p99 = load.quantile(0.5), load.quantile(0.99)
        shown = f"{load.per_sec:,.0f}/s, p50 {p50:.2f}, p99 {p99:.2f} ms, {load.errors} errors"
        title = f"direct: WEB=2 WORKERS=2, warm sync Python, {callers} callers"
        table.append(Figure(title, shown, "no error", load.errors == 0))
    return table + records(stack)


Measure = Callable[[Stack, Span], list[Figure]]

PARTS: dict[str, Measure] = {
    "direct-fresh": fresh,
    "direct-warm": warm,
    "direct-large": large,
    "direct-memory": memory,
}
"""On one stack; in this order."""
SCALE = "direct-scale"
"""On a stack of its own."""
