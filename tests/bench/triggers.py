"""What strangers call, beside what has a key, in one run: a custom route, webhooks with and without a signature, and
`/invoke`."""

from __future__ import annotations

from typing import Any

from tests.bench.direct import Span
from tests.bench.figures import Figure
from tests.bench.handlers import HELLO
from tests.bench.load import Load
from tests.bench.stack import Stack

SECRET = "a secret of the bench"
LEAST = {1: 0.4, 8: 0.4}
"""By callers: of the calls a second that `/invoke` has."""
SHOWN = ("web-0", "worker-0", "redis", "postgres", "sandboxes")
"""Of whose processors."""


def triggers(stack: Stack, span: Span) -> list[Figure]:
    """A signed webhook asks Redis for replays, which no other does."""
    kinds = _created(stack)
    table = []
    for callers in (1, 8):
        title = f"{callers} caller{'s' if callers > 1 else ''}"
        plain, used = _loaded(stack, span, "hello", callers)
        table.append(Figure(f"triggers: plain invoke, {title}", _shown(plain, used), "no error", plain.errors == 0))
        for name, more in kinds.items():
            load, used = _loaded(stack, span, callers=callers, **more)
            share, least = load.per_sec / plain.per_sec, LEAST[callers]
            ok = load.errors == 0 and share >= least
            shown = f"{_shown(load, used)}, {share:.2f} × plain"
            table.append(Figure(f"triggers: {name}, {title}", shown, f"≥ {least} × plain, no error", ok))
    return table


def _created(stack: Stack) -> dict[str, dict[str, Any]]:
    """By kind, how it is called."""
    stack.create("hello", HELLO)
    stack.create("route", HELLO, http_path="/bench/{number}")
    return {
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


def _loaded(stack: Stack, span: Span, function: str, callers: int, **more: Any) -> tuple[Load, dict[str, float]]:
    """And the µs of processors that each process used for a call, until all is on record."""
    stack.settle()
    before, count = stack.cpu_sec(), stack.answers[function]
    load = stack.load(function, callers=callers, seconds=span.seconds, **more)
    stack.settle()
    after, count = stack.cpu_sec(), stack.answers[function] - count
    return load, {name: (after[name] - before[name]) / count * 1e6 for name in SHOWN}


def _shown(load: Load, used: dict[str, float]) -> str:
    p50, p99 = load.quantile(0.5), load.quantile(0.99)
    times = ", ".join(f"{name.removesuffix('-0')} {each:.0f}" for name, each in used.items())
    return f"{load.per_sec:,.0f}/s, p50 {p50:.2f}, p99 {p99:.2f} ms, {load.errors} errors ({times} µs)"
