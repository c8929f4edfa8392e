"""How runs end early: out of time, cancelled, over a limit, without a worker, without Redis, while a worker stops."""

from __future__ import annotations

import json
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.acceptance.caller import Caller, calls
from tests.platform import Platform, PlatformOptions
from tests.services import wait_until

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.parametrize(
        "platform",
        [PlatformOptions(env={"NIMBUS_WORKER_THREADS": "24", "NIMBUS_DRAIN_GRACE_SEC": "3"})],
        indirect=True,
        ids=["process"],
    ),
]


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == code
    assert set(answer.json()) <= {"error", "code", "request_id", "details"}


# -- out of time


def test_a_call_out_of_time_is_504_and_the_worker_is_free_at_once(caller: Caller) -> None:
    caller.create("slow", timeout_sec=1, memory_mb=128)
    caller.create("quick", memory_mb=128)
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: caller.invoke("slow", {"sec": 120}), range(24)))
    assert {(answer.status_code, answer.json()["error_type"]) for answer in answers} == {(504, "Timeout")}
    assert caller.invoke("quick", {"token": 1}).json()["body"] == 1


def test_queued_work_out_of_time_is_tried_again_then_over(caller: Caller) -> None:
    caller.create("slow-async", timeout_sec=1, max_retries=1, memory_mb=128)
    row = caller.ended(caller.send("slow-async", {"sec": 120}))
    assert (row["status"], row["attempt"], row["error_type"]) == ("timeout", 2, "Timeout")
    assert [each["status"] for each in row["attempts"]] == ["timeout"]


# -- cancelled


def test_a_running_synchronous_call_is_cancelled(caller: Caller) -> None:
    caller.create("sync-cancel", memory_mb=128)
    with calls(caller, "sync-cancel", range(1), sec=60) as (future,):
        row = wait_until_told(caller, "sync-cancel")
        answer = caller.http.post(f"/invocations/{row['id']}/cancel")
        assert answer.status_code == 200, answer.text
        body = future.result(30).json()
    assert (body["status_code"], body["error_type"]) == (500, "Cancelled")
    assert caller.ended(body["invocation_id"])["status"] == "cancelled"
    assert caller.invoke("sync-cancel", {"token": 2}).json()["body"] == 2


def wait_until_told(caller: Caller, name: str) -> dict[str, Any]:
    """The run of a function that a worker says it is at: a synchronous one has no row until it ends."""
    from redis import Redis

    from nimbus_project.core import fleet

    client = Redis.from_url(caller.redis_url)
    found: list[dict[str, Any]] = []

    def told() -> bool:
        found[:] = [run for worker in fleet.living(client) for run in worker.running if run["function_name"] == name]
        return bool(found)

    try:
        wait_until(told, 30, f"a worker to tell of {name}")
    finally:
        client.close()
    return found[0]


def test_a_running_queued_invocation_is_cancelled(caller: Caller) -> None:
    caller.create("async-cancel", max_retries=2, memory_mb=128)
    reference = caller.send("async-cancel", {"sec": 60})
    caller.running(reference)
    assert caller.http.post(f"/invocations/{reference}/cancel").json()["status"] == "cancelled"
    row = caller.get(reference)
    assert (row["status"], row["error_type"], row["attempt"]) == ("cancelled", "Cancelled", 1)
    refused(caller.http.post(f"/invocations/{reference}/cancel"), 409, "not_cancellable")
    assert caller.invoke("async-cancel", {"token": 1}).json()["body"] == 1
    wait_until(lambda: caller.lines(reference) == ["began"], 10, "what it had printed")


def test_a_waiting_invocation_is_cancelled_and_never_runs(caller: Caller) -> None:
    caller.create("never", memory_mb=128)
    reference = caller.send("never", params={"delay_sec": "2"})
    assert caller.http.post(f"/invocations/{reference}/cancel").json()["status"] == "cancelled"
    later = caller.send("never", params={"delay_sec": "3"})
    assert caller.ended(later)["status"] == "success"
    assert (caller.get(reference)["status"], caller.get(reference)["attempt"]) == ("cancelled", 0)


# -- deleted


def test_a_function_deleted_under_its_runs(caller: Caller) -> None:
    caller.create("gone", memory_mb=128, max_concurrency=2)
    running = caller.send("gone", {"token": 1, "sec": 3})
    caller.running(running)
    waiting = caller.send("gone", {"token": 2}, params={"delay_sec": "3"})
    with calls(caller, "gone", range(1), sec=3) as (future,):
        wait_until_told(caller, "gone")
        assert caller.http.delete("/functions/gone").status_code == 204
        answer = future.result(60)
    assert (answer.status_code, answer.json().get("body")) == (200, 0), answer.text
    assert (caller.ended(running)["status"], caller.get(running)["output"]) == ("success", 1)
    row = caller.ended(waiting)
    assert (row["status"], row["error_type"], row["attempt"]) == ("failed", "FunctionDeleted", 1)
    assert caller.lines(running) == ["began"]
    refused(caller.invoke("gone"), 404, "function_not_found")


# -- over a limit


def test_max_concurrency_refuses_callers_and_lets_queued_work_wait(caller: Caller) -> None:
    caller.create("narrow", max_concurrency=2, memory_mb=128)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda n: caller.invoke("narrow", {"token": n, "sec": 2}), range(10)))
    counts = {status: [a.status_code for a in answers].count(status) for status in (200, 429)}
    assert counts == {200: 2, 429: 8}
    for answer in answers:
        if answer.status_code == 429:
            refused(answer, 429, "concurrency_limit")
            assert int(answer.headers["retry-after"]) >= 1
    references = [caller.send("narrow", {"token": n, "sec": 0.2}) for n in range(8)]
    rows = [caller.ended(reference, timeout=60) for reference in references]
    assert [(row["status"], row["output"], row["attempt"]) for row in rows] == [("success", n, 1) for n in range(8)]
    assert overlap(rows) <= 2


def overlap(rows: list[dict[str, Any]]) -> int:
    """How many of them ran at once at most."""
    moments = [(row["started_at"], 1) for row in rows] + [(row["completed_at"], -1) for row in rows]
    level = highest = 0
    for _, step in sorted(moments):
        level += step
        highest = max(highest, level)
    return highest


# -- without a worker, without Redis


def test_without_a_worker_calls_are_refused_at_once_and_queued_work_waits(caller: Caller, platform: Platform) -> None:
    caller.create("waiting", memory_mb=128)
    platform.worker.stop()
    try:
        # The web process looks every second who lives; a worker that stopped has said goodbye.
        answer = first_refusal(caller, "waiting")
        refused(answer, 503, "no_worker")
        assert int(answer.headers["retry-after"]) >= 1
        reference = caller.send("waiting", {"token": 7})
        assert caller.get(reference)["status"] == "pending"
        assert caller.http.get(f"{platform.url}/health/ready").json()["down"] == {"worker": "No worker is alive."}
    finally:
        platform.start_worker()
    assert caller.ended(reference)["output"] == 7


def first_refusal(caller: Caller, name: str) -> httpx.Response:
    """From when the web process knows; a call a moment before that waits in the queue for a worker to come."""
    found: list[httpx.Response] = []

    def refuses() -> bool:
        try:
            found[:] = [caller.invoke(name, timeout=2)]
        except httpx.ReadTimeout:
            return False
        return True

    wait_until(refuses, 20, "a refusal")
    return found[0]


def test_without_redis_queued_work_is_accepted_and_what_needs_it_is_refused(caller: Caller, platform: Platform) -> None:
    caller.create("no-redis", memory_mb=128)
    caller.create("no-redis-narrow", memory_mb=128, max_concurrency=1)
    caller.invoke("no-redis")
    said = {server.name: len(server.logs()) for server in (platform.web, platform.worker)}
    platform.redis.kill9()
    try:
        # The direct lane goes on while it knows all it needs; what needs Redis is refused.
        warm = caller.invoke("no-redis", {"token": 8})
        assert warm.status_code == 503 or warm.json()["body"] == 8, warm.text
        # How often it runs elsewhere nobody can say now.
        narrow = caller.invoke("no-redis-narrow")
        assert narrow.status_code == 503, narrow.text
        assert all(answer.headers["retry-after"] for answer in (warm, narrow) if answer.status_code == 503)
        began = time.monotonic()
        # A worker that looks for rows may find them before anybody tells it of them.
        references = [caller.send("no-redis", {"token": n}) for n in range(2)]
        late = caller.send("no-redis", {"token": 2}, params={"delay_sec": 3600})
        assert time.monotonic() - began < 30
        assert caller.get(late)["status"] == "pending"
        cancelled = caller.http.post(f"/invocations/{late}/cancel")
        assert cancelled.json().get("status") == "cancelled", cancelled.text
        ready = caller.http.get(f"{platform.url}/health/ready")
        assert (ready.status_code, "redis" in ready.json()["down"]) == (503, True)
        assert caller.http.get("/functions").status_code == 200
        assert caller.http.get("/invocations").status_code == 200
    finally:
        platform.start_redis()
        platform.wait_ready()
    assert [caller.ended(each)["output"] for each in references] == [0, 1]
    assert caller.invoke("no-redis", {"token": 9}).json()["body"] == 9
    for server in (platform.web, platform.worker):
        assert_calm(server.logs()[said[server.name] :])


def assert_calm(log: str) -> None:
    """An outage is two lines of each that meets it: no tracebacks, nothing for each try."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    told = Counter(line["event"] for line in lines if line["level"] != "info")
    assert not any("exception" in line for line in lines), log
    assert max(told.values(), default=0) <= 3 and len(told) < 20, told


def test_a_call_under_way_outlives_a_redis_that_starts_again(caller: Caller, platform: Platform) -> None:
    caller.create("through", memory_mb=128)
    with calls(caller, "through", range(4), sec=6) as futures:
        wait_until_told(caller, "through")
        platform.redis.kill9()
        platform.start_redis()
        answers = [future.result(60) for future in futures]
    assert [(answer.status_code, answer.json().get("body")) for answer in answers] == [(200, n) for n in range(4)]
    platform.wait_ready()


# -- while a worker stops


def test_a_stopping_worker_answers_or_gives_back_all_it_runs(caller: Caller, platform: Platform) -> None:
    caller.create("drained", memory_mb=128)
    short = [caller.send("drained", {"token": n, "sec": 2}) for n in range(6)]
    long = [caller.send("drained", {"token": n, "sec": 12}) for n in range(4)]
    with calls(caller, "drained", range(10), sec=2) as futures:
        for reference in [*short, *long]:
            caller.running(reference)
        wait_until_told(caller, "drained")
        platform.worker.stop(60)
        answers = [future.result(60) for future in futures]
    assert [(answer.status_code, answer.json().get("body")) for answer in answers] == [(200, n) for n in range(10)]
    rows = [caller.get(reference) for reference in short]
    assert [(row["status"], row["output"]) for row in rows] == [("success", n) for n in range(6)]
    rows = [caller.get(reference) for reference in long]
    assert [(row["status"], row["attempts"][0]["error_type"]) for row in rows] == [("pending", "WorkerStopped")] * 4
    platform.start_worker()
    rows = [caller.ended(reference, timeout=60) for reference in long]
    assert [(row["status"], row["output"], row["attempt"]) for row in rows] == [("success", n, 2) for n in range(4)]
