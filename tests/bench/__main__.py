"""`python -m tests.bench [--quick | --long] [--only PART[,PART]] [--json FILE]`"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from functions.runtimes import RUNTIMES
from tests.bench import consumption, direct, figures, floors, languages, projects, retention, triggers, workflows
from tests.bench.direct import FULL, LONG, QUICK, Span
from tests.bench.figures import Figure
from tests.bench.handlers import HELLO
from tests.bench.load import quantile
from tests.bench.stack import Stack, running_stack
from tests.services import missing_images

console = Console()

DIRECT = (*direct.PARTS, direct.SCALE)
PARTS = (*DIRECT, "triggers", "retention", "calls", "starts", "queue", "workflows", "languages", "projects", "cold")
GROUPS = {"direct": DIRECT}
"""What `--only` may name."""


def measure(span: Span, only: frozenset[str] = frozenset(PARTS)) -> list[Figure]:
    """The figures of these parts, with the floors that they are held against."""
    table: list[Figure] = []
    quick, docker_ms, stolen = span is QUICK, 0.0, consumption.Stolen()
    if only & {"calls", "cold"}:
        docker_ms = floors.docker_run(RUNTIMES["python3.11"].image, times=3 if quick else 7)
        table.append(Figure("floor: docker run", f"p50 {docker_ms:.0f} ms"))
    if only - {"cold", direct.SCALE}:
        with running_stack() as stack:
            table += _with_stock(stack, span, only)
    if direct.SCALE in only:
        console.print(direct.SCALE)
        with running_stack(web=2, workers=2) as stack:
            table += direct.scale(stack, span)
    if "cold" in only:
        console.print("cold")
        no_stock = {f"NIMBUS_PREWARM_{name}": "0" for name in ("PYTHON", "NODE", "GO", "WASM")}
        with running_stack(no_stock) as stack:
            table += _cold(stack, docker_ms, 3 if quick else 7)
    table.append(Figure("time that the host took from this machine", f"{stolen.percent():.1f} %"))
    return table


def _with_stock(stack: Stack, span: Span, only: frozenset[str]) -> list[Figure]:
    """All that a platform with prewarmed sandboxes is measured for."""
    quick = span is QUICK
    seconds, times = (3.0, 3) if quick else (10.0, 7)
    parts: dict[str, Callable[[], list[Figure]]] = {
        "calls": lambda: _calls(stack, seconds),
        **{name: partial(part, stack, span) for name, part in direct.PARTS.items()},
        "triggers": lambda: triggers.triggers(stack, span),
        "retention": lambda: retention.retention(stack, span),
        "starts": lambda: _starts(stack, 5 if quick else 15),
        "queue": lambda: _queue(stack, quick),
        "workflows": lambda: workflows.workflows(stack, quick),
        "languages": lambda: languages.figures(stack, seconds=seconds / 2, times=times),
        "projects": lambda: projects.figures(stack),
    }
    table: list[Figure] = []
    for name in filter(only.__contains__, parts):
        console.print(name)
        stack.clear()
        table += parts[name]()
    return table + direct.records(stack)


def _calls(stack: Stack, seconds: float) -> list[Figure]:
    """First of all, for the memory of an idle platform."""
    memory = _memory(stack)
    bare = floors.celery_round_trip(stack.redis, stack.folder, seconds=seconds / 2)
    stack.create("hello", HELLO)
    return [
        *memory,
        Figure("floor: bare Celery round trip, 1 caller", f"p50 {bare['p50_ms']:.2f} ms"),
        Figure("floor: bare Celery round trips, 16 callers", f"{bare['per_sec_16']:.0f}/s"),
        *_warm(stack, bare, seconds),
    ]


def _warm(stack: Stack, bare: dict[str, float], seconds: float) -> list[Figure]:
    one = stack.load(callers=1, seconds=seconds)
    p50, p95, p99 = (one.quantile(q) for q in (0.5, 0.95, 0.99))
    ratio = p50 / bare["p50_ms"]
    table = [
        Figure("warm sync, 1 caller: p50", f"{p50:.2f} ms", "≤ 5 ms", p50 <= 5),
        Figure("warm sync, 1 caller: p95", f"{p95:.2f} ms"),
        Figure("warm sync, 1 caller: p99", f"{p99:.2f} ms", "≤ 25 ms", p99 <= 25),
        Figure("… p50 against bare Celery", f"{ratio:.2f} ×", "≤ 3 ×", ratio <= 3),
        Figure("warm sync, 1 caller", f"{one.per_sec:.0f}/s"),
    ]
    for callers in (16, 64):
        load = stack.load(callers=callers, seconds=seconds)
        ok = load.errors == 0 and (callers != 16 or load.per_sec >= 250)
        bar = "≥ 250/s, no error" if callers == 16 else "no error"
        shown = f"{load.per_sec:.0f}/s, p99 {load.quantile(0.99):.0f} ms, {load.errors} errors"
        table.append(Figure(f"warm sync, {callers} callers", shown, bar, ok))
        if callers == 16:
            share = load.per_sec / bare["per_sec_16"]
            table.append(Figure("… against bare Celery", f"{share:.2f} ×", "≥ 0.3 ×", share >= 0.3))
    return table


def _starts(stack: Stack, times: int) -> list[Figure]:
    took = figures.first_calls(stack, times=times)
    p50 = quantile(took, 0.5)
    return [Figure("first call, prewarmed sandbox there: p50", f"{p50:.1f} ms", "≤ 50 ms", p50 <= 50)]


def _cold(stack: Stack, docker_ms: float, times: int) -> list[Figure]:
    p50 = quantile(figures.cold_calls(stack, times=times), 0.5)
    ratio = p50 / docker_ms
    return [
        Figure("first call, no sandbox there: p50", f"{p50:.0f} ms"),
        Figure("… against docker run", f"{ratio:.2f} ×", "≤ 1.3 ×", ratio <= 1.3),
    ]


def _queue(stack: Stack, quick: bool) -> list[Figure]:
    stack.create("hello", HELLO)
    p99 = quantile(figures.accept(stack, count=300 if quick else 1000), 0.99)
    rate = figures.drain_rate(stack, count=500 if quick else 2000)
    return [
        Figure("/async accept: p99", f"{p99:.1f} ms", "≤ 25 ms", p99 <= 25),
        Figure("/async accepted and run", f"{rate:.0f}/s", "≥ 200/s", rate >= 200),
    ]


def _memory(stack: Stack) -> list[Figure]:
    told = {name: consumption.rss_mb(pid) for name, pid in stack.pids().items() if name != "postgres"}
    total = sum(told.values())
    parts = ", ".join(f"{name} {mb:.0f}" for name, mb in told.items())
    return [
        Figure("idle platform", f"{total:.0f} MB ({parts})", "≤ 400 MB", total <= 400),
        Figure("idle sandbox, Python, prewarmed", f"{figures.sandbox_mb(stack):.0f} MB"),
    ]


def show(table: list[Figure]) -> None:
    shown = Table(title="Nimbus bench")
    for column in ("figure", "measured", "bar", ""):
        shown.add_column(column)
    for figure in table:
        mark = {None: "", True: "[green]ok[/green]", False: "[red]missed[/red]"}[figure.ok]
        shown.add_row(figure.name, figure.value, figure.bar, mark)
    console.print(shown)


def _parts(text: str) -> frozenset[str]:
    named = {part for name in text.split(",") if name for part in GROUPS.get(name, (name,))}
    if not named or named - set(PARTS):
        raise argparse.ArgumentTypeError(f"there are {', '.join([*GROUPS, *PARTS])}")
    return frozenset(named)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--quick", dest="span", action="store_const", const=QUICK, help="a third of the time, more noise"
    )
    length.add_argument("--long", dest="span", action="store_const", const=LONG, help="memory over 500,000 calls")
    names = ",".join([*GROUPS, *PARTS])
    parser.add_argument("--only", type=_parts, default=frozenset(PARTS), help=f"some of {names}")
    parser.add_argument("--json", type=Path, default=Path("bench.json"))
    given = parser.parse_args()
    if missing := missing_images("go1.24", "wasm"):
        parser.exit(2, f"{missing}\n")
    table = measure(given.span or FULL, given.only)
    show(table)
    rows = [{"figure": f.name, "measured": f.value, "bar": f.bar, "ok": f.ok} for f in table]
    given.json.write_text(json.dumps(rows, indent=2, ensure_ascii=False))
    return 1 if any(figure.ok is False for figure in table) else 0


if __name__ == "__main__":
    sys.exit(main())
