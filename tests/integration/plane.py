"""Tools of the tests of the control plane: rows to begin with, threads that race, calls through the entrance."""

from __future__ import annotations

import asyncio
import faulthandler
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

import httpx

T = TypeVar("T")

BASE = "http://localhost:8080"
V1 = "/api/v1"
ECHO = "def main(event, context):\n    return {'event': event, 'attempt': context.attempt}\n"


def wait_until(condition: Callable[[], T], what: str, *, within_sec: float = 20.0, every_sec: float = 0.02) -> T:
    """The first true value of `condition`; fails when there is none within the bound."""
    until = time.monotonic() + within_sec
    while not (value := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"waited {within_sec} s in vain for {what}")
        time.sleep(every_sec)
    return value


def clean() -> None:
    """Empty tables and keys; what living workers say of themselves stays."""
    from django.db import connection

    from accounts.models import AuditEntry
    from functions import directory
    from functions.models import Function, Package
    from invocations import ledger
    from invocations.models import DeadLetter, IdempotencyKey, Invocation, InvocationLog, Report
    from nimbus_project.core import redis
    from tests import tables
    from triggers.models import (
        AlertChange,
        AlertNotification,
        AlertRule,
        Event,
        EventDelivery,
        EventReplay,
        EventRule,
        ScheduleFire,
        WebhookDelivery,
    )
    from workflows.models import Execution, StoredDefinition, Workflow

    client = redis.connection()
    # What a worker has in its journal would otherwise arrive in the next test's tables.
    ledger.settle(client)
    keep = (redis.WORKERS, redis.WORKER)
    keys = [key for key in client.scan_iter(match=redis.PREFIX + "*") if not key.decode().startswith(keep)]
    client.delete("clock", "sync", "async", *keys)
    history = (Report, DeadLetter, IdempotencyKey, InvocationLog, Invocation, ScheduleFire, WebhookDelivery)
    events = (Event, EventDelivery, EventReplay, EventRule, AlertRule, AlertChange, AlertNotification)
    # Definitions last: what refers to one protects it.
    models = (*history, Function, Package, *events, Execution, Workflow, StoredDefinition)
    if connection.vendor == "postgresql":
        tables.empty((*models, AuditEntry))
    else:
        for model in models:
            model.objects.all().delete()
    directory.forget_all()


def living_workers() -> list[Any]:
    from nimbus_project.core import fleet, redis

    return list(fleet.living(redis.connection()))


def in_threads(count: int, work: Callable[[int], T]) -> list[T | BaseException]:
    """`work(0)` … `work(count - 1)` at the same moment, each in a thread of its own; what each gave or raised."""
    from django.db import connections

    gate = threading.Barrier(count)

    def run(number: int) -> T | BaseException:
        try:
            gate.wait(30)
            return work(number)
        except Exception as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def make_function(name: str = "hello", **given: Any) -> Any:
    from functions import services

    values: dict[str, Any] = {"runtime": "python3.11", "handler": "handler.main", "code": ECHO}
    return services.function_create(name=name, **values | given)


def make_row(now: datetime, **values: Any) -> Any:
    """A pending invocation, stored the way `submit` stores it."""
    from django.db import transaction

    from invocations import lifecycle
    from invocations.models import Invocation
    from nimbus_project.core.ids import new_id

    fixed: dict[str, Any] = {
        "request_id": "r-1",
        "function_id": new_id(),
        "function_name": "hello",
        "runtime": "python3.11",
        "version": 1,
        "input": b"{}",
        "max_attempts": 3,
    }
    delay_sec = values.pop("delay_sec", 0.0)
    row = Invocation(**fixed | values)
    with transaction.atomic():
        lifecycle.accept(row, now, delay_sec=delay_sec)
    return row


def make_dead_letter(now: datetime | None = None, **values: Any) -> Any:
    """Of an invocation that has failed once and for all, the way a worker lets it fail."""
    from django.utils import timezone

    from invocations import lifecycle
    from invocations.models import DeadLetter
    from invocations.outcome import Fault, Outcome, Status

    now = now or timezone.now()
    row = make_row(now, **{"max_attempts": 1} | values)
    held = lifecycle.claim(row.function_id, "w", now, 10)
    assert held is not None and held.pk == row.pk
    bad = Outcome(status=Status.FAILED, fault=Fault.FUNCTION, error="no", error_type="ValueError")
    assert lifecycle.finish(held, bad, None, now, 0.0)
    return DeadLetter.objects.get(invocation_id=row.pk)


class Api:
    """The started entrance behind an HTTP client; callable from any thread."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="entrance", daemon=True)
        self._thread.start()
        self._run(application.start())
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url=BASE, timeout=60)

    def _run(self, work: Any) -> Any:
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(90)
        except TimeoutError:
            # What it waits for is gone once the test is: so that a report can say it.
            for task in asyncio.all_tasks(self._loop):
                task.print_stack(file=sys.stderr)
            faulthandler.dump_traceback(sys.__stderr__ or sys.stderr)
            raise

    def close(self) -> None:
        self._run(self._client.aclose())
        self._run(self._application.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request. A path that is no full one is below /api/v1."""
        url = (
            path
            if path.startswith(("http", "/api/", "/health", "/metrics", "/admin", "/static", "/webhook", "//"))
            else V1 + path
        )
        answer: httpx.Response = self._run(self._client.request(method, url, **more))
        return answer

    def forget_cookies(self) -> None:
        """The client keeps those of earlier answers, as a browser does."""
        self._client.cookies.clear()

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self("GET", path, **more)

    def post(self, path: str, json: Any = None, **more: Any) -> httpx.Response:
        return self("POST", path, **({"json": json} if json is not None else {}) | more)

    def put(self, path: str, json: Any = None, **more: Any) -> httpx.Response:
        return self("PUT", path, **({"json": json} if json is not None else {}) | more)

    def create(self, name: str = "hello", **changes: Any) -> dict[str, Any]:
        """A function, made through the API."""
        values = {"name": name, "runtime": "python3.11", "handler": "handler.main", "code": ECHO}
        answer = self.post("/functions", values | changes)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made


async def chunks(body: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    """A body without a declared length."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


def refusal(answer: httpx.Response, status: int, code: str = "") -> dict[str, Any]:
    """The body of a refusal, after checking that it is the one error shape."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text[:500]}"
    assert answer.headers["content-type"] == "application/json", answer.headers["content-type"]
    body: dict[str, Any] = answer.json()
    assert {"error", "code", "request_id"} <= set(body) <= {"error", "code", "request_id", "details"}
    assert body["error"] and isinstance(body["error"], str)
    assert body["code"].replace("_", "").isalnum() and body["code"].islower()
    assert body["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    if "details" in body:
        assert body["details"]
        for field, messages in body["details"].items():
            assert isinstance(field, str) and messages and all(isinstance(m, str) for m in messages)
    if code:
        assert body["code"] == code
    return body
