"""Routes of invocations: lists and their filters, one of them, its lines, replay, cancel."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from django.utils import timezone

from invocations.models import Invocation, InvocationLog
from invocations.selectors import LISTED_BYTES
from nimbus_project.core import redis
from nimbus_project.core.ids import new_id
from tests.integration.plane import Api, make_row, refusal

ALWAYS = {
    "duration_ms",
    "queue_ms",
    "billed_time_ms",
    "memory_used_mb",
    "id",
    "function_id",
    "function_name",
    "version",
    "trigger_type",
    "status",
    "input",
    "cold_start",
    "attempt",
    "retry_count",
    "request_id",
    "created_at",
}


def listed(api: Api, query: str = "") -> list[str]:
    """The request ids of a list."""
    answer = api.get(f"/invocations?{query}")
    assert answer.status_code == 200, answer.text
    return [row["request_id"] for row in answer.json()["invocations"]]


def stored(request_id: str, minutes_ago: float = 0, **changes: Any) -> Invocation:
    row: Invocation = make_row(timezone.now() - timedelta(minutes=minutes_ago), request_id=request_id)
    if changes:
        Invocation.objects.filter(pk=row.pk).update(**changes)
    return row


# -- lists


def test_an_empty_list(api: Api) -> None:
    assert api.get("/invocations").json() == {"invocations": [], "total": 0, "offset": 0, "limit": 20}


def test_newest_first_with_filters(api: Api) -> None:
    made = api.create()
    stored("old", 60, status="success", trigger_type="async")
    stored("mid", 30, status="failed", function_id=made["id"])
    stored("new", 1, trigger_type="cron")
    assert listed(api) == ["new", "mid", "old"]
    assert listed(api, "status=failed") == ["mid"]
    assert listed(api, "trigger_type=cron&status=pending") == ["new"]
    assert listed(api, f"function_id={made['id']}") == listed(api, "function_id=hello") == ["mid"]
    assert listed(api, f"function_id={new_id()}") == []
    moment = (timezone.now() - timedelta(minutes=45)).isoformat()
    assert listed(api, f"after={moment}") == ["new", "mid"]  # its + arrives as a space
    assert listed(api, f"before={moment.replace('+00:00', 'Z')}") == ["old"]
    of_function = api.get("/functions/hello/invocations").json()
    assert [row["request_id"] for row in of_function["invocations"]] == ["mid"]


@pytest.mark.parametrize(
    "query",
    """status=sleeping status=SUCCESS trigger_type=magic before=yesterday before=%00 after=2026-13-01T00:00:00Z
    after=99999-01-01 before=0001-01-01T00:00:00%2B23:59 after=9999-12-31T23:59:59-23:59 cursor=garbage cursor=%00
    cursor=W10 cursor=WzEsMl0 cursor=bnVsbA cursor=%C3%A9 limit=-1 limit=1e9 offset=abc""".split(),  # noqa: SIM905
)
def test_a_garbled_query(api: Api, query: str) -> None:
    for path in ("/invocations", "/functions/hello/invocations"):
        api.create() if path.endswith("hello/invocations") else None
        answer = refusal(api.get(f"{path}?{query}"), 400, "invalid_request")
        assert list(answer["details"]) == [query.partition("=")[0]]


@pytest.mark.parametrize("query", ["function_id=nobody", "function_id=%00", "function_id=../x"])
def test_nobodys_invocations(api: Api, query: str) -> None:
    refusal(api.get(f"/invocations?{query}"), 404, "function_not_found")


def test_pages_by_cursor_are_stable_while_rows_are_added(api: Api) -> None:
    same_moment = timezone.now() - timedelta(minutes=5)
    names = [f"r-{n:02}" for n in range(25)]
    for name in names:
        make_row(same_moment, request_id=name)
    seen: list[str] = []
    cursor = ""
    while True:
        answer = api.get(f"/invocations?limit=10&cursor={cursor}").json()
        seen += [row["request_id"] for row in answer["invocations"]]
        stored(f"added-{len(seen)}")
        cursor = answer.get("next_cursor", "")
        if not cursor:
            break
    assert sorted(seen) == names
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(("limit", "more"), [(2, True), (3, False), (4, False), (0, False)])
def test_a_cursor_only_where_there_is_more(api: Api, limit: int, more: bool) -> None:
    for n in range(3):
        stored(str(n))
    answer = api.get(f"/invocations?limit={limit}").json()
    assert ("next_cursor" in answer) is more
    assert (answer["total"], len(answer["invocations"])) == (3, min(limit, 3))


def test_large_events_are_named_in_lists_and_shown_alone(api: Api) -> None:
    small, large = b'"' + b"x" * (LISTED_BYTES - 2) + b'"', b'"' + b"x" * (LISTED_BYTES - 1) + b'"'
    first = stored("small", 2, input=small, output=small, status="success")
    second = stored("large", 1, input=large, output=large, status="success")
    rows = {row["request_id"]: row for row in api.get("/invocations").json()["invocations"]}
    assert "truncated" not in rows["small"]
    assert len(rows["small"]["input"]) == len(rows["small"]["output"]) == LISTED_BYTES - 2
    assert (rows["large"]["truncated"], rows["large"]["input"]) == (["input", "output"], None)
    assert "output" not in rows["large"]
    for row, size in ((first, LISTED_BYTES - 2), (second, LISTED_BYTES - 1)):
        whole = api.get(f"/invocations/{row.pk}").json()
        assert (len(whole["input"]), len(whole["output"])) == (size, size)
        assert "truncated" not in whole


# -- one


def test_a_waiting_one_has_no_more_than_it_is(api: Api) -> None:
    row = stored("r")
    shown = api.get(f"/invocations/{row.pk}").json()
    assert {*shown} == ALWAYS | {"next_attempt_at"}
    assert (shown["status"], shown["attempt"], shown["retry_count"], shown["cold_start"]) == ("pending", 0, 0, False)
    assert datetime.fromisoformat(shown["created_at"]).utcoffset() == timedelta(0)


@pytest.mark.parametrize("output", [b"0", b"false", b'""', b"[]", b"{}", b'{"a":null}'])
def test_an_empty_result_is_a_result(api: Api, output: bytes) -> None:
    row = stored("r", status="success", output=output)
    for shown in (api.get(f"/invocations/{row.pk}").json(), api.get("/invocations").json()["invocations"][0]):
        assert shown["output"] == orjson.loads(output)


def test_by_request_id_the_newest(api: Api) -> None:
    stored("same", 5)
    newer = stored("same", 1)
    assert api.get("/invocations/same").json()["id"] == str(newer.pk)


REFERENCES = """nobody 01890a5d-ac96-774b-bcce-b302099a8057 %00 a%00b %F0%9F%A6%80 %FF ../x ..%2Fx %0A %20 '--
    %22""".split()  # noqa: SIM905


@pytest.mark.parametrize(
    ("method", "suffix"),
    [("GET", ""), ("GET", "/logs"), ("GET", "/stream"), ("POST", "/replay"), ("POST", "/cancel")],
)
@pytest.mark.parametrize("reference", [*REFERENCES, "x" * 5000])
def test_nobodys_invocation(api: Api, method: str, suffix: str, reference: str) -> None:
    stored("r")
    body = refusal(api(method, f"/invocations/{reference}{suffix}"), 404)
    assert body["code"] in ("invocation_not_found", "not_found")
    assert Invocation.objects.count() == 1


# -- its lines


def log_of(row: Invocation, count: int) -> None:
    lines = [[1_700_000_000_000 + n, "stdout", f"line {n}"] for n in range(count)]
    InvocationLog.objects.create(
        invocation_id=row.pk, function_id=row.function_id, lines=orjson.dumps(lines), created_at=timezone.now()
    )


def test_lines_in_pages(api: Api) -> None:
    row = stored("r", status="success")
    log_of(row, 25)
    first = api.get(f"/invocations/{row.pk}/logs").json()
    assert (len(first["logs"]), first["total"], first["offset"], first["limit"]) == (20, 25, 0, 20)
    assert first["logs"][0] == {"timestamp": "2023-11-14T22:13:20.000Z", "stream": "stdout", "message": "line 0"}
    rest = api.get(f"/invocations/{row.pk}/logs?cursor={first['next_cursor']}").json()
    assert [line["message"] for line in rest["logs"]] == [f"line {n}" for n in range(20, 25)]
    assert "next_cursor" not in rest


def test_who_printed_nothing_has_an_empty_list(api: Api) -> None:
    row = stored("r")
    assert api.get(f"/invocations/{row.pk}/logs").json() == {"logs": [], "total": 0, "offset": 0, "limit": 20}


@pytest.mark.parametrize("query", ["limit=x", "offset=-1", "cursor=x", "cursor=-1", "cursor=99999999999"])
def test_a_garbled_query_for_lines(api: Api, query: str) -> None:
    row = stored("r")
    refusal(api.get(f"/invocations/{row.pk}/logs?{query}"), 400, "invalid_request")


def test_lines_of_a_run_under_way_come_after_those_of_its_earlier_tries(api: Api) -> None:
    row = stored("r", status="running")
    log_of(row, 1)
    redis.connection().rpush(f"{redis.LINES}{row.pk}", orjson.dumps([1_700_000_000_001, "stderr", "now"]))
    lines = api.get(f"/invocations/{row.pk}/logs").json()["logs"]
    assert [(line["stream"], line["message"]) for line in lines] == [("stdout", "line 0"), ("stderr", "now")]


# -- replay and cancel


def test_a_replay_is_the_same_event_once_more_on_the_function_as_it_is_now(api: Api) -> None:
    made = api.create()
    row = stored("r", 1, function_id=made["id"], status="failed", input=b'{"a": 1}', session_key="s")
    api.put("/functions/hello", {"timeout_sec": 7})
    answer = api.post(f"/invocations/{row.pk}/replay", headers={"x-request-id": "again"})
    assert (answer.status_code, {*answer.json()}) == (202, {"request_id", "invocation_id", "status"})
    new = api.get(f"/invocations/{answer.json()['invocation_id']}").json()
    assert (new["input"], new["version"], new["session_key"], new["request_id"]) == ({"a": 1}, 2, "s", "again")
    assert (new["trigger_type"], new["status"], new["attempt"]) == ("async", "pending", 0)


def test_nothing_is_replayed_on_a_function_that_is_off(api: Api) -> None:
    made = api.create()
    row = stored("r", function_id=made["id"], status="failed")
    api.post("/functions/hello/offline")
    refusal(api.post(f"/invocations/{row.pk}/replay"), 400, "function_not_active")
    assert Invocation.objects.count() == 1


def test_cancelled_once(api: Api) -> None:
    row = stored("r")
    answer = api.post(f"/invocations/{row.pk}/cancel/")
    assert (answer.status_code, answer.json()) == (
        200,
        {"request_id": "r", "invocation_id": str(row.pk), "status": "cancelled"},
    )
    shown = api.get(f"/invocations/{row.pk}").json()
    assert (shown["status"], shown["error_type"]) == ("cancelled", "Cancelled")
    refusal(api.post(f"/invocations/{row.pk}/cancel"), 409, "not_cancellable")


@pytest.mark.parametrize("status", ["success", "failed", "timeout"])
def test_what_has_ended_is_not_cancelled(api: Api, status: str) -> None:
    row = stored("r", status=status)
    refusal(api.post(f"/invocations/{row.pk}/cancel"), 409, "not_cancellable")
    assert Invocation.objects.get().status == status
