"""One run in a sandbox as the event loop of the direct lane makes it, without the loop."""

from __future__ import annotations

import select
import time

from invocations.outcome import Outcome
from workers.exchange import Broken
from workers.sandbox import Call, LogSink, Sandbox


def invoke(sandbox: Sandbox, call: Call, event: bytes, deadline: float, on_log: LogSink | None = None) -> Outcome:
    """As `Sandbox.invoke`, by its Exchange."""
    exchange = sandbox.exchange(call, event, deadline, on_log)
    try:
        if (outcome := exchange.begin()) is not None:
            return outcome
        while True:
            poll = select.poll()
            poll.register(exchange.fileno(), select.POLLIN if exchange.is_sent else select.POLLIN | select.POLLOUT)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return exchange.break_off(TimeoutError("deadline passed"))
            if (outcome := exchange.proceed()) is not None:
                return outcome
    except Broken as broken:
        return exchange.break_off(broken.error)
