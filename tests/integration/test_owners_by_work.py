"""How long a refusal takes tells nothing: for another owner's thing the platform does exactly what it does for a
missing one. Not measured by the clock, which would need thousands of tries, but by the work: the same statements."""

from __future__ import annotations

from typing import Any

import pytest
from django.db.backends.utils import CursorWrapper

from invocations import foresight
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api
from tests.integration.test_owners import _without_ids
from tests.integration.test_permissions import METHODS, routes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

MISSING = ["01900000-0000-7000-8000-000000000000", "01900000-0000-7000-8000-000000000001"]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Statements of all threads, as they come, without their values."""
    done: list[str] = []
    execute = CursorWrapper.execute

    def recorded(self: Any, sql: Any, params: Any = None) -> Any:
        # Who is asking is looked up each few seconds and a key's use noted once a minute, whatever is asked for.
        if "accounts_member" not in str(sql) and 'SET "last_used_at"' not in str(sql):
            done.append(str(sql))
        return execute(self, sql, params)

    # What is read ahead, whoever asks for it, comes when it likes.
    monkeypatch.setattr(foresight, "refresh", lambda: None)
    monkeypatch.setattr(CursorWrapper, "execute", recorded)
    return done


def _ask(who: As, method: str, path: str, reference: str) -> Any:
    body = {"name": "new", "value": "x", "routing_config": {"weights": [{"version": 1, "weight": 100}]}}
    body |= {"version": 1, "steps": [100], "interval_sec": 1, "max_error_rate": 0.1}
    return who(method, path.replace("/nothing", f"/{reference}", 1), **({"json": body} if method != "GET" else {}))


def test_every_route_does_the_same_for_anothers_thing_as_for_a_missing_one(
    locked_entrance: Api, work: list[str]
) -> None:
    ann, ben = (As(locked_entrance, make_key(name, "developer")) for name in ("ann", "ben"))
    function = ann.create("xyzzy")
    weights = {"routing_config": {"weights": [{"version": 1, "weight": 100}]}}
    ann.post("/functions/xyzzy/aliases", {"name": "nothing", **weights})
    run = ann.post("/functions/xyzzy/async?delay_sec=3600", {}).json()
    layer = ann.post("/layers", {"name": "wood", "compatible_runtimes": ["python3.11"]}).json()
    source = "package main\n\nfunc Handler(event any) (any, error) { return event, nil }\n"
    task = ann.create("compiled", runtime="go1.24", code=source)["task_id"]
    key = ann.get("/apikeys").json()["apikeys"][0]
    pairs = {
        "functions": [(function["id"], MISSING[0]), ("xyzzy", "plugh")],
        "invocations": [(run["invocation_id"], MISSING[0]), (run["request_id"], MISSING[1])],
        "layers": [(layer["id"], MISSING[0]), ("wood", "iron")],
        "tasks": [(task, MISSING[0])],
        "apikeys": [(key["id"], MISSING[0]), (key["prefix"], "0123456789")],
    }
    different, tried = [], 0
    ben.get("/me")
    for name, path, _ in routes():
        kind = path.removeprefix("/api/v1/").partition("/")[0]
        if f"/{kind}/nothing" not in path:
            continue
        for theirs, missing in pairs.get(kind, []):
            for method in METHODS:
                counted = []
                for reference in (theirs, missing):
                    # As far as memory goes, an owner's call before must make no difference either.
                    ann.post("/functions/xyzzy/async?delay_sec=3600", {})
                    work.clear()
                    answer = _ask(ben, method, path, reference)
                    counted.append((answer.status_code, _without_ids(answer.text, reference), list(work)))
                tried += 1
                if counted[0] != counted[1]:
                    different.append((name, method, *counted))
    assert different == []
    assert tried > 150


def test_a_filter_and_a_running_call_of_another(locked_entrance: Api, work: list[str]) -> None:
    from nimbus_project.core import fleet, redis

    ann, ben = (As(locked_entrance, make_key(name, "developer")) for name in ("ann", "ben"))
    function = ann.create("xyzzy")
    run = {"id": MISSING[0], "request_id": "r-1", "function_id": function["id"], "function_name": "xyzzy"}
    worker = fleet.WorkerState(id="w", node="n", pid=1, driver="process", started_at=0.0, threads=1, running=[run])
    fleet.announce(redis.connection(), worker)

    def done(method: str, path: str) -> tuple[int, list[str]]:
        work.clear()
        answer = ben(method, path)
        return answer.status_code, list(work)

    for theirs, missing in (("r-1", "r-2"), (MISSING[0], MISSING[1])):
        assert done("POST", f"/invocations/{theirs}/cancel") == done("POST", f"/invocations/{missing}/cancel")
    assert done("GET", "/invocations?function_id=xyzzy") == done("GET", "/invocations?function_id=plugh")
    cancelled = {"request_id": "r-1", "invocation_id": MISSING[0], "status": "cancelling"}
    assert ann.post("/invocations/r-1/cancel").json() == cancelled
    fleet.withdraw(redis.connection(), "w")
