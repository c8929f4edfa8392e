"""A synchronous call on a worker where nothing works as it should: the caller is answered all the same."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from invocations.outcome import Fault
from invocations.record import CallMessage, RunRecord
from workers import executor


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError("no descriptor"), KeyError("x")])
def test_a_call_that_could_not_be_run_is_answered_at_once(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    delivered: list[RunRecord] = []

    def fail(*args: Any, **more: Any) -> None:
        raise error

    def deliver(worker: Any, call: CallMessage, record: RunRecord, run_log: Any) -> None:
        delivered.append(record)

    monkeypatch.setattr(executor, "_deliver", deliver)
    worker: Any = SimpleNamespace(
        id="w",
        calls={},
        draining=threading.Event(),
        shipper=SimpleNamespace(open=lambda *_: None),
        specs=SimpleNamespace(get=fail),
    )
    now_ms = time.time() * 1000
    call = CallMessage(
        id="i",
        request_id="r",
        function_id="f",
        function_name="f",
        runtime="python3.11",
        version=1,
        created_ms=now_ms,
        start_before_ms=now_ms + 30_000,
        reply_to="web",
    )
    executor.run_call(worker, call.to_wire(), "{}")
    (record,) = delivered
    assert (record.id, record.status, record.fault) == ("i", "failed", Fault.PLATFORM)
    assert worker.calls == {}
