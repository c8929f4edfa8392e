"""`/invoke` and `/async`, to the letter of the contract, with a real worker behind the entrance."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import httpx
import pytest

from invocations import slots
from invocations.models import IdempotencyKey, Invocation
from nimbus_project.core import fleet, redis
from tests.integration.plane import Api, refusal, wait_until

pytestmark = pytest.mark.usefixtures("worker")

ALWAYS = {
    "request_id",
    "invocation_id",
    "status_code",
    "body",
    "duration_ms",
    "cold_start",
    "start_kind",
    "billed_time_ms",
    "version",
}
FAILS = """
class Oops(Exception):
    pass

def main(event):
    print("before")
    raise Oops("it broke: é")
"""
PRINTS = """
import sys

def main(event):
    for n in range(event["n"]):
        print("line", n)
    print("err", file=sys.stderr)
"""
SLOW = """
import time

def main(event):
    time.sleep(event.get("sec", 30))
    return "slept"
"""
COUNTS = """
calls = 0

def main(event):
    global calls
    calls += 1
    return calls
"""
FAILS_ONCE = """
def main(event, context):
    print("try", context.attempt)
    assert context.attempt > 1, "first"
    return context.attempt
"""


def invocation(api: Api, reference: str, *, ended: bool = True) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        answer = api.get(f"/invocations/{reference}")
        row: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        return row if row and (not ended or row["status"] not in ("pending", "running")) else None

    return wait_until(look, f"the invocation {reference}") or {}


# -- synchronous


def test_creating_and_calling_at_once_works(api: Api) -> None:
    api.create(code='def main(event):\n    return {"message": "Hello " + event.get("name", "World")}')
    answer = api.post("/functions/hello/invoke", {"name": "Nimbus"}, headers={"x-request-id": "mine-1"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    body = answer.json()
    assert {*body} == ALWAYS
    assert (body["status_code"], body["body"]) == (200, {"message": "Hello Nimbus"})
    assert (body["version"], body["request_id"]) == (1, "mine-1")
    assert answer.headers["x-request-id"] == "mine-1"
    assert body["duration_ms"] > 0 and body["billed_time_ms"] >= 1
    again = api.post("/functions/hello/invoke/", {"name": "again"}).json()
    assert (again["body"], again["cold_start"], again["start_kind"]) == ({"message": "Hello again"}, False, "warm")


@pytest.mark.parametrize(
    ("content", "event"),
    [
        (b"", {}),
        (b"{}", {}),
        (b"null", None),
        (b"[1, 2.5]", [1, 2.5]),
        (b'"text"', "text"),
        (b"0", 0),
        (b' {"a":\n1} ', {"a": 1}),
        ('{"é": "𝄞"}'.encode(), {"é": "𝄞"}),
        (b'"\\u0000"', "\0"),
    ],
)
@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json", None]
)
def test_the_body_is_the_event(api: Api, content: bytes, event: Any, kind: str | None) -> None:
    api.create()
    headers = {} if kind is None else {"content-type": kind}
    answer = api.post("/functions/hello/invoke", content=content, headers=headers)
    assert answer.json()["body"]["event"] == event


def test_a_failure_of_the_function_is_500_with_its_words(api: Api) -> None:
    api.create(code=FAILS)
    answer = api.post("/functions/hello/invoke", {})
    body = answer.json()
    assert (answer.status_code, body["status_code"], body["body"]) == (500, 500, None)
    assert (body["error"], body["error_type"]) == ("it broke: é", "Oops")
    assert {*body} == ALWAYS | {"error", "error_type", "stack_trace"}
    assert "main" in "".join(body["stack_trace"]) and "runner.py" not in "".join(body["stack_trace"])


def test_out_of_time_is_504(api: Api) -> None:
    api.create(code=SLOW, timeout_sec=1)
    answer = api.post("/functions/hello/invoke", {})
    assert (answer.status_code, answer.json()["error_type"]) == (504, "Timeout")
    assert invocation(api, answer.json()["invocation_id"])["status"] == "timeout"


@pytest.mark.parametrize(("query", "there"), [("", False), ("?logs=true", True), ("?logs=false", False)])
def test_logs_when_asked_for(api: Api, query: str, there: bool) -> None:
    api.create(code=PRINTS)
    body = api.post(f"/functions/hello/invoke{query}", {"n": 2}).json()
    assert ("logs" in body) is there
    if there:
        assert sorted(body["logs"].splitlines()) == ["err", "line 0", "line 1"]


def test_at_most_the_last_4_kib_of_logs(api: Api) -> None:
    api.create(code=PRINTS)
    logs = api.post("/functions/hello/invoke?logs=true", {"n": 5000}).json()["logs"]
    assert 3900 < len(logs.encode()) <= 4096
    assert "line 4999" in logs and logs.startswith("line ")


def test_a_version_may_be_chosen(api: Api) -> None:
    api.create(code="def main(event): return 1")
    api.put("/functions/hello", {"code": "def main(event): return 2"})
    for query, expected in {"": 2, "?version=1": 1, "?version=2": 2, "?alias=latest": 2}.items():
        body = api.post(f"/functions/hello/invoke{query}").json()
        assert (body["body"], body["version"]) == (expected, expected)
        assert body.get("alias_used") == ("latest" if "alias" in query else None)


def test_the_run_can_be_read_right_after_the_answer(api: Api) -> None:
    made = api.create(code=PRINTS)
    body = api.post("/functions/hello/invoke", {"n": 1}, headers={"x-nimbus-session": "s-1"}).json()
    row = api.get("/invocations").json()["invocations"][0]
    assert row == api.get(f"/invocations/{body['invocation_id']}").json()
    assert row == api.get(f"/invocations/{body['request_id']}").json()
    expected = {
        "id": body["invocation_id"], "function_id": made["id"], "function_name": "hello", "version": 1,
        "trigger_type": "http", "status": "success", "input": {"n": 1}, "attempt": 1, "retry_count": 0,
        "session_key": "s-1", "request_id": body["request_id"], "cold_start": body["cold_start"],
        "billed_time_ms": body["billed_time_ms"],
    }  # fmt: skip
    assert row == row | expected
    assert {"started_at", "completed_at", "created_at", "duration_ms", "queue_ms"} <= set(row)
    assert not {"error", "error_type", "alias_used", "next_attempt_at", "attempts", "truncated"} & set(row)
    logs = api.get(f"/invocations/{body['invocation_id']}/logs").json()
    assert {line["message"]: line["stream"] for line in logs["logs"]} == {"line 0": "stdout", "err": "stderr"}
    assert (logs["total"], logs["offset"], logs["limit"]) == (2, 0, 20)


def test_the_same_request_id_twice_is_two_runs(api: Api) -> None:
    api.create()
    headers = {"x-request-id": "01890a5d-ac96-774b-bcce-b302099a8057"}
    first, second = (api.post("/functions/hello/invoke", {}, headers=headers).json() for _ in range(2))
    assert first["invocation_id"] != second["invocation_id"]
    wait_until(lambda: Invocation.objects.count() == 2, "both records")


def test_each_of_many_callers_gets_its_own_answer(api: Api) -> None:
    api.create(code="def main(event): return event['token']")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: api.post("/functions/hello/invoke", {"token": n}).json()["body"], range(64)))
    assert answers == list(range(64))


# -- what the platform answers instead


def test_no_worker_is_503_at_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from nimbus_project import asgi

    api.create()
    desk = asgi.application._desk
    assert desk is not None
    monkeypatch.setattr(fleet, "living", lambda client: [])
    monkeypatch.setattr(fleet, "DEAD_AFTER_SEC", -1.0)
    began = time.monotonic()
    answer = api.post("/functions/hello/invoke", {})
    refusal(answer, 503, "no_worker")
    assert int(answer.headers["retry-after"]) > 0
    assert time.monotonic() - began < 5
    assert api.post("/functions/hello/async", {}).status_code == 202


def test_more_calls_than_max_concurrency_are_429(api: Api) -> None:
    made = api.create(code=SLOW, max_concurrency=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(api.post, "/functions/hello/invoke", {"sec": 1.5})
        wait_until(lambda: redis.connection().exists(slots.key(made["id"])), "the first call to begin")
        answer = api.post("/functions/hello/invoke", {"sec": 0})
        refusal(answer, 429, "concurrency_limit")
        assert int(answer.headers["retry-after"]) > 0
        waiting = api.post("/functions/hello/async", {"sec": 0})
        assert waiting.status_code == 202, "queued work waits instead"
        assert first.result().status_code == 200
    api.post("/functions/hello/async", {"sec": 0})  # any message wakes a worker
    assert invocation(api, waiting.json()["invocation_id"])["status"] == "success"


# -- asynchronous


def test_accepted_means_stored(api: Api) -> None:
    api.create()
    answer = api.post("/functions/hello/async", {"a": 1}, headers={"x-request-id": "mine-2"})
    body = answer.json()
    assert answer.status_code == 202
    assert {*body} == {"request_id", "invocation_id", "status"}
    assert (body["request_id"], body["status"]) == ("mine-2", "accepted")
    assert Invocation.objects.filter(pk=UUID(body["invocation_id"])).exists()
    row = invocation(api, "mine-2")
    assert (row["status"], row["trigger_type"], row["input"]) == ("success", "async", {"a": 1})
    assert row["output"] == {"event": {"a": 1}, "attempt": 1}


def test_a_failure_is_tried_again_and_each_try_told(api: Api) -> None:
    api.create(code=FAILS_ONCE)
    accepted = api.post("/functions/hello/async", {}).json()
    first = wait_until(lambda: _with_attempts(api, accepted["invocation_id"]), "the first try's end")
    assert (first["attempts"][0]["error"], first["attempts"][0]["error_type"]) == ("first", "AssertionError")
    Invocation.objects.filter(pk=accepted["invocation_id"]).update(next_attempt_at="2020-01-01T00:00:00Z")
    api.post("/functions/hello/async", {})  # any message wakes a worker
    row = invocation(api, accepted["invocation_id"])
    assert (row["status"], row["output"], row["attempt"], row["retry_count"]) == ("success", 2, 2, 1)
    lines = api.get(f"/invocations/{accepted['invocation_id']}/logs").json()["logs"]
    assert [line["message"] for line in lines] == ["try 1", "try 2"]


def _with_attempts(api: Api, reference: str) -> dict[str, Any] | None:
    row: dict[str, Any] = api.get(f"/invocations/{reference}").json()
    return row if row.get("attempts") else None


def test_later_is_not_now(api: Api) -> None:
    api.create()
    body = api.post("/functions/hello/async?delay_sec=86400", {}).json()
    row = api.get(f"/invocations/{body['invocation_id']}").json()
    assert (row["status"], row["attempt"]) == ("pending", 0)
    assert row["next_attempt_at"] > row["created_at"]


# -- the same request again


def test_a_repeated_call_is_one_run_with_one_answer(api: Api) -> None:
    api.create(code=COUNTS)
    event = {"a": 1}
    headers = {"idempotency-key": "k-1"}
    first = api.post("/functions/hello/invoke", event, headers=headers)
    again = api.post("/functions/hello/invoke", event, headers=headers)
    assert (first.status_code, first.json()["body"]) == (200, 1)
    for name in ("body", "invocation_id", "status_code", "version", "billed_time_ms", "start_kind"):
        assert again.json()[name] == first.json()[name], name
    refusal(api.post("/functions/hello/invoke", {"a": 2}, headers=headers), 409, "idempotency_mismatch")


def test_the_same_call_many_times_at_once_runs_once(api: Api) -> None:
    api.create(code=COUNTS)
    event = {"a": 1}

    def call(_: int) -> httpx.Response:
        return api.post("/functions/hello/invoke", event, headers={"idempotency-key": "k-2"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(call, range(8)))
    assert [(each.status_code, each.json()["body"]) for each in answers] == [(200, 1)] * 8
    assert len({each.json()["invocation_id"] for each in answers}) == 1


@pytest.mark.parametrize("key", ["x" * 256, "a\tb"])
def test_an_unusable_key(api: Api, key: str) -> None:
    api.create()
    for route in ("invoke", "async"):
        refusal(api.post(f"/functions/hello/{route}", {}, headers={"idempotency-key": key}), 400, "invalid_request")
    assert not IdempotencyKey.objects.exists()
