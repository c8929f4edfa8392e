"""Routes of functions, to the letter of the contract."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from functions.models import Function, FunctionVersion
from nimbus_project.core.ids import new_id
from tests.integration.plane import ECHO, Api, make_row, refusal

ALWAYS = [
    "id",
    "name",
    "tags",
    "pinned",
    "shared",
    "runtime",
    "handler",
    "code",
    "code_hash",
    "code_size",
    "code_size_limit",
    "memory_mb",
    "timeout_sec",
    "max_concurrency",
    "env_vars",
    "network",
    "status",
    "version",
    "max_retries",
    "max_event_age_sec",
    "webhook_enabled",
    "last_deployed_at",
    "created_at",
    "updated_at",
]


# -- create


def test_a_function_is_created_active_with_its_defaults(api: Api) -> None:
    made = api.create()
    assert {*made} == {*ALWAYS, "function", "message"}
    assert made["function"] == {key: made[key] for key in ALWAYS}
    assert made["code_hash"] == hashlib.sha256(ECHO.encode()).hexdigest()
    expected = {
        "name": "hello", "tags": [], "pinned": False, "runtime": "python3.11", "handler": "handler.main",
        "code": ECHO, "code_size": len(ECHO), "code_size_limit": 524288, "memory_mb": 256, "timeout_sec": 30,
        "max_concurrency": 0, "env_vars": {}, "network": "none", "status": "active", "version": 1, "max_retries": 2,
        "webhook_enabled": False,
    }  # fmt: skip
    assert {key: made[key] for key in expected} == expected
    assert UUID(made["id"]).version == 7
    for name in ("created_at", "updated_at", "last_deployed_at"):
        assert datetime.fromisoformat(made[name]).utcoffset() == timedelta(0)


def test_what_is_given_is_kept(api: Api) -> None:
    given = {
        "description": "greets", "tags": ["b", "a", "b"], "pinned": True, "memory_mb": 512, "timeout_sec": 5,
        "max_concurrency": 3, "max_retries": 0, "max_event_age_sec": 60, "env_vars": {"A": " x\n", "B": ""},
        "network": "egress",
    }  # fmt: skip
    made = api.create(**given)
    assert {key: made[key] for key in given} == given | {"tags": ["b", "a"]}
    assert api.get("/functions/hello").json() == made["function"]


def test_source_is_kept_to_the_byte(api: Api) -> None:
    code = "  # ünïcødé €\r\ndef main(event):\treturn '𝄞'\n\n  "
    made = api.create(code=code)
    assert (made["code"], made["code_size"]) == (code, len(code.encode()))


def test_a_name_is_taken_once(api: Api) -> None:
    api.create()
    answer = api.post("/functions", {"name": "hello", "runtime": "nodejs20", "handler": "a.b", "code": "x"})
    refusal(answer, 409, "function_exists")
    assert Function.objects.get().runtime == "python3.11"


def test_a_function_may_be_made_again_from_what_was_answered(api: Api) -> None:
    made = api.create()["function"]
    assert api.post("/functions", made | {"name": "again"}).status_code == 201


# -- read


@pytest.mark.parametrize("slash", ["", "/"])
def test_by_id_and_by_name_with_and_without_a_slash(api: Api, slash: str) -> None:
    made = api.create()
    for reference in (made["id"], made["id"].upper(), "hello"):
        answer = api.get(f"/functions/{reference}{slash}")
        assert (answer.status_code, answer.json()) == (200, made["function"])
    assert api.get(f"/functions{slash}").json()["total"] == 1


def test_an_empty_list_is_a_list(api: Api) -> None:
    assert api.get("/functions").json() == {"functions": [], "total": 0, "offset": 0, "limit": 20}


def test_a_row_has_the_last_day_and_no_code(api: Api) -> None:
    made = api.create()
    (row,) = api.get("/functions").json()["functions"]
    assert {*row} == ({*ALWAYS} - {"code"}) | {"invocations", "success_rate", "avg_latency_ms"}
    assert (row["invocations"], row["success_rate"], row["avg_latency_ms"]) == (0, None, None)
    (row,) = api.get("/functions?include=code").json()["functions"]
    assert row["code"] == made["code"]


def test_a_rows_statistics_are_those_of_the_last_24_hours(api: Api) -> None:
    from django.utils import timezone

    from invocations.models import Invocation

    function_id = api.create()["id"]
    now = timezone.now()
    ends = [("success", 10.0, 1), ("success", 20.0, 23), ("failed", 60.0, 2), ("success", 1000.0, 25)]
    for status, duration_ms, hours in [*ends, ("pending", 0.0, 0), ("cancelled", 5.0, 1)]:
        row = make_row(now - timedelta(hours=hours), function_id=function_id)
        Invocation.objects.filter(pk=row.pk).update(status=status, duration_ms=duration_ms)
    (row,) = api.get("/functions").json()["functions"]
    assert (row["invocations"], row["success_rate"], row["avg_latency_ms"]) == (3, 66.67, 30.0)


@pytest.fixture
def some(api: Api) -> Api:
    api.create("alpha", tags=["x", "y"])
    api.create("Beta", tags=["x"], runtime="nodejs20", handler="index.main")
    api.create("gamma_1", pinned=True)
    api.create("delta", tags=["y"])
    api.post("/functions/delta/offline")
    return api


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["gamma_1", "delta", "Beta", "alpha"]),  # pinned first, then newest
        ("name=ET", ["Beta"]),
        ("name=a", ["gamma_1", "delta", "Beta", "alpha"]),
        ("name=_", ["gamma_1"]),  # no wildcard
        ("name=%25", []),
        ("name=.*", []),
        ("tags=x", ["Beta", "alpha"]),
        ("tags=x,y", ["alpha"]),
        ("tags=%20x%20,,", ["Beta", "alpha"]),
        ("tags=X", []),
        ("tags=nobody", []),
        ("runtime=nodejs20", ["Beta"]),
        ("status=offline", ["delta"]),
        ("status=active&tags=y", ["alpha"]),
        ("ordering=created_at", ["alpha", "Beta", "gamma_1", "delta"]),
        ("ordering=-created_at", ["delta", "gamma_1", "Beta", "alpha"]),
        ("limit=2", ["gamma_1", "delta"]),
        ("limit=2&offset=3", ["alpha"]),
        ("offset=99", []),
        ("limit=0", []),
    ],
)
def test_a_filtered_list(some: Api, query: str, names: list[str]) -> None:
    answer = some.get(f"/functions?{query}").json()
    assert [row["name"] for row in answer["functions"]] == names
    if not {"limit", "offset"} & {part.partition("=")[0] for part in query.split("&")}:
        assert answer["total"] == len(names)
    elif "=" in query:
        assert answer["total"] == 4


def test_the_limit_is_clamped(api: Api) -> None:
    assert api.get("/functions?limit=101").json()["limit"] == 100


# -- update


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_absent_fields_stay_as_they_are(api: Api, method: str) -> None:
    made = api.create(tags=["a"], env_vars={"A": "1"}, description="d", memory_mb=512)["function"]
    answer = api(method, "/functions/hello", json={"description": "other"})
    assert answer.status_code == 200
    changed = answer.json()
    differs = {key for key in made if made[key] != changed[key]}
    assert differs == {"description", "updated_at"}
    assert changed["version"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"code": "def main(event): return 2"},
        {"handler": "handler.other"},
        {"memory_mb": 512},
        {"timeout_sec": 31},
        {"env_vars": {"A": "1"}},
        {"network": "egress"},
    ],
)
def test_a_change_of_code_or_configuration_is_a_new_version(api: Api, change: dict[str, Any]) -> None:
    made = api.create()
    changed = api.put("/functions/hello", change).json()
    assert (changed["version"], changed | {}) == (2, changed | change)
    old = FunctionVersion.objects.get(function_id=made["id"], version=1)
    assert (old.handler, old.memory_mb, old.timeout_sec) == ("handler.main", 256, 30)
    assert bytes(old.package.data).decode() == ECHO
    again = api.put("/functions/hello", change).json()
    assert again["version"] == 2, "the same once more is no change"


@pytest.mark.parametrize("change", [{"pinned": True}, {"tags": ["a"]}, {"max_concurrency": 1}, {"max_retries": 5}, {}])
def test_other_changes_make_no_version(api: Api, change: dict[str, Any]) -> None:
    api.create()
    changed = api.put("/functions/hello", change).json()
    assert (changed["version"], changed) == (1, changed | change)


def test_the_whole_answer_may_be_sent_back(api: Api) -> None:
    made = api.create(tags=["a"], env_vars={"A": "1"})["function"]
    answer = api.put("/functions/hello", made)
    assert answer.status_code == 200
    assert answer.json() | {"updated_at": made["updated_at"]} == made


@pytest.mark.parametrize("change", [{"name": "other"}, {"runtime": "nodejs20"}, {"name": "hello "}])
def test_name_and_runtime_cannot_change(api: Api, change: dict[str, Any]) -> None:
    api.create()
    body = refusal(api.put("/functions/hello", change), 400, "invalid_request")
    assert list(body["details"]) == list(change)


# -- off and on


def test_offline_and_online(api: Api) -> None:
    api.create()
    for _ in range(2):
        answer = api.post("/functions/hello/offline")
        assert (answer.status_code, answer.json()["status"]) == (200, "offline")
    refusal(api.post("/functions/hello/invoke", {}), 400, "function_not_active")
    refusal(api.post("/functions/hello/async", {}), 400, "function_not_active")
    for _ in range(2):
        answer = api.post("/functions/hello/online/")
        assert (answer.status_code, answer.json()["status"]) == (200, "active")
    assert api.post("/functions/hello/async", {}).status_code == 202


# -- delete


def test_deleted_is_gone_and_its_name_is_free(api: Api) -> None:
    first = api.create()
    answer = api("DELETE", "/functions/hello")
    assert (answer.status_code, answer.content) == (204, b"")
    for reference in ("hello", first["id"]):
        refusal(api.get(f"/functions/{reference}"), 404, "function_not_found")
        refusal(api.post(f"/functions/{reference}/invoke", {}), 404, "function_not_found")
        refusal(api("DELETE", f"/functions/{reference}"), 404, "function_not_found")
    assert api.create()["id"] != first["id"]


def test_the_history_of_a_deleted_function_stays_readable(api: Api) -> None:
    made = api.create()
    accepted = api.post("/functions/hello/async", {"a": 1}).json()
    api("DELETE", "/functions/hello")
    listed = api.get(f"/invocations?function_id={made['id']}").json()
    assert [(row["id"], row["function_name"]) for row in listed["invocations"]] == [
        (accepted["invocation_id"], "hello")
    ]
    assert api.get(f"/invocations/{accepted['invocation_id']}").json()["input"] == {"a": 1}
    refusal(api.post(f"/invocations/{accepted['invocation_id']}/replay"), 404, "function_not_found")


@pytest.mark.parametrize(
    ("method", "suffix"),
    [
        ("GET", ""),
        ("PUT", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/invoke"),
        ("POST", "/async"),
        ("POST", "/offline"),
        ("POST", "/online"),
        ("GET", "/invocations"),
        ("GET", "/logs/stream"),
    ],
)
@pytest.mark.parametrize(
    "reference",
    [
        "nobody",
        str(new_id()),
        "01890a5d-ac96-774b-bcce-b302099a805",  # a digit short
        "x" * 5000,
        "%00",
        "a%00b",
        "%20",
        "h%C3%A9llo",
        "%F0%9F%A6%80",
        "%FF%FE",
        "hello%0A",
        "..%2F..%2Fetc%2Fpasswd",
        "%2e%2e",
        "hello'--",
        "hello%22%7B%7D",
        "*",
    ],
)
def test_nobodys_function(api: Api, method: str, suffix: str, reference: str) -> None:
    api.create()
    content = {"json": {}} if method in ("PUT", "PATCH", "POST") else {}
    body = refusal(api(method, f"/functions/{reference}{suffix}", **content), 404)
    assert body["code"] in ("function_not_found", "not_found")
