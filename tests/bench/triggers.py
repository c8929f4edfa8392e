"""What strangers call, beside what has a key, in one run: a webhook with a signature, a custom route, and `/invoke`."""

from __future__ import annotations

from tests.bench.direct import Span
from tests.bench.figures import Figure
from tests.bench.handlers import HELLO
from tests.bench.load import Load
from tests.bench.stack import Stack

SECRET = "a secret of the bench"
LEAST = {1: 0.4, 8: 0.4}
"""By callers: of the calls a second that `/invoke` has."""


def triggers(stack: Stack, span: Span) -> list[Figure]:
    """A signed webhook asks Redis for replays, which `/invoke` does not."""
    key = _created(stack)
    table = []
    for callers in (1, 8):
        plain = stack.load("hello", callers=callers, seconds=span.seconds)
        loads = {
            "webhook, GitHub's signature": stack.load(
                "hook", callers=callers, seconds=span.seconds, path=f"/webhook/{key}", secret=SECRET
            ),
            "custom route": stack.load("route", callers=callers, seconds=span.seconds, path="/bench/7", secret=""),
        }
        title = f"{callers} caller{'s' if callers > 1 else ''}"
        table.append(Figure(f"triggers: plain invoke, {title}", _shown(plain), "no error", plain.errors == 0))
        table += [_line(f"triggers: {name}, {title}", load, plain, LEAST[callers]) for name, load in loads.items()]
    return table


def _created(stack: Stack) -> str:
    """The key of the webhook."""
    stack.create("hello", HELLO)
    stack.create("route", HELLO, http_path="/bench/{number}")
    stack.create("hook", HELLO)
    settings = {"signature": {"scheme": "github", "secret": SECRET}}
    assert stack.client.put("/functions/hook/webhook", json=settings).status_code == 200
    key: str = stack.client.post("/functions/hook/webhook/enable").json()["webhook_key"]
    return key


def _line(title: str, load: Load, plain: Load, least: float) -> Figure:
    share = load.per_sec / plain.per_sec
    ok = load.errors == 0 and share >= least
    return Figure(title, f"{_shown(load)}, {share:.2f} × plain", f"≥ {least} × plain, no error", ok)


def _shown(load: Load) -> str:
    p50, p99 = load.quantile(0.5), load.quantile(0.99)
    return f"{load.per_sec:,.0f}/s, p50 {p50:.2f}, p99 {p99:.2f} ms, {load.errors} errors"
