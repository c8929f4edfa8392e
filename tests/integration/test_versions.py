"""Versions through the entrance: publish, compare, roll back, delete, and races for numbers."""

from __future__ import annotations

import base64
import io
import zipfile
from typing import Any

import pytest
from django.utils import timezone

from tests.integration.plane import Api, in_threads, refusal

V = "/functions/hello/versions"


def code(number: int) -> str:
    return f"def main(event, context):\n    return {number}\n"


@pytest.fixture
def three(api: Api) -> Api:
    """A function with versions 1, 2 and 3, each with its own code."""
    api.create(code=code(1))
    for number in (2, 3):
        assert api.put("/functions/hello", {"code": code(number)}).status_code == 200
    return api


def numbers(api: Api) -> list[int]:
    return [row["version"] for row in api.get(V, params={"limit": 100}).json()["versions"]]


def test_versions_are_listed_newest_first(three: Api) -> None:
    page = three.get(V, params={"limit": 2}).json()
    assert [row["version"] for row in page["versions"]] == [3, 2]
    assert (page["total"], page["offset"], page["limit"]) == (3, 0, 2)
    assert "code" not in page["versions"][0]
    assert three.get(V, params={"include": "code"}).json()["versions"][2]["code"] == code(1)
    assert three.get(V, params={"offset": 9}).json()["versions"] == []


def test_one_version_is_whole(three: Api) -> None:
    function = three.get("/functions/hello").json()
    row = three.get(f"{V}/2").json()
    assert row["code"] == code(2) and row["version"] == 2 and row["function_id"] == function["id"]
    assert {"id", "handler", "code_hash", "memory_mb", "timeout_sec", "env_vars", "created_at", "created_by"} <= set(
        row
    )
    assert "description" not in row


@pytest.mark.parametrize("number", ["0", "4", "2147483648", "9" * 30])
def test_a_version_that_is_not_there(three: Api, number: str) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/diff"), ("POST", "/rollback")):
        refusal(three(method, f"{V}/{number}{path}"), 404, "version_not_found")


def test_publish_without_a_description_answers_the_newest_as_it_is(three: Api) -> None:
    answer = three.post(V, {})
    assert answer.status_code == 201 and answer.json()["version"] == 3
    assert numbers(three) == [3, 2, 1]


def test_publish_with_a_description_is_a_new_version_of_the_same_content(three: Api) -> None:
    answer = three.post(V, {"description": "before the holidays", "publish_alias": "prod"})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["version"], made["description"], made["code"]) == (4, "before the holidays", code(3))
    assert three.get("/functions/hello").json()["version"] == 4
    alias = three.get("/functions/hello/aliases/prod").json()
    assert alias["routing_config"] == {"weights": [{"version": 4, "weight": 100}]}
    assert three.post(V, {"publish_alias": "prod", "description": "again"}).json()["version"] == 5
    alias = three.get("/functions/hello/aliases/prod").json()
    assert alias["routing_config"] == {"weights": [{"version": 5, "weight": 100}]}


@pytest.mark.parametrize(
    "body", [{"publish_alias": "latest"}, {"publish_alias": "no spaces"}, {"publish_alias": 3}, {"descripton": "x"}, []]
)
def test_publish_refuses_and_changes_nothing(three: Api, body: Any) -> None:
    refusal(three.post(V, body), 400)
    assert numbers(three) == [3, 2, 1]


def test_diff_as_json_and_as_text(three: Api) -> None:
    three.put("/functions/hello", {"memory_mb": 512})
    answer = three.get(f"{V}/4/diff", params={"against": 1}).json()
    assert (answer["version"], answer["against"], answer["changed"]) == (4, 1, ["code", "memory_mb"])
    assert "-    return 1\n+    return 3\n" in answer["diff"]
    assert '-  "memory_mb": 256,\n+  "memory_mb": 512,\n' in answer["diff"]
    text = three.get(f"{V}/4/diff", params={"against": 1}, headers={"Accept": "text/plain"})
    assert text.headers["content-type"].startswith("text/plain") and text.text == answer["diff"]
    assert three.get(f"{V}/4/diff").json()["against"] == 3
    assert three.get(f"{V}/1/diff").json()["against"] == 0
    assert three.get(f"{V}/2/diff", params={"against": 2}).json()["diff"] == ""


def test_diff_refuses_as_json_whatever_was_asked_for(three: Api) -> None:
    plain = {"headers": {"Accept": "text/plain"}}
    refusal(three.get(f"{V}/2/diff", params={"against": "x"}, **plain), 400)
    refusal(three.get(f"{V}/2/diff", params={"against": "9"}, **plain), 404, "version_not_found")
    refusal(three.get("/functions/nobody/versions/1/diff", **plain), 404, "function_not_found")


def test_rollback_makes_a_new_version_of_the_old_content(three: Api) -> None:
    answer = three.post(f"{V}/1/rollback")
    assert answer.status_code == 200
    function = answer.json()
    assert (function["version"], function["code"], function["status"]) == (4, code(1), "active")
    assert answer.headers["etag"] == '"4"'
    row = three.get(f"{V}/4").json()
    assert row["code_hash"] == three.get(f"{V}/1").json()["code_hash"]
    assert row["description"] == "Version 1 again."


def zipped(text: str) -> str:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("handler.py", text)
    return base64.b64encode(file.getvalue()).decode()


def test_rollback_reuses_the_artifact_and_builds_nothing(api: Api) -> None:
    from functions.models import BuildTask, FunctionVersion

    answer = api.post(
        "/functions",
        {"name": "hello", "runtime": "python3.11", "handler": "handler.main", "archive": zipped(code(1))},
    )
    assert answer.status_code == 201, answer.text
    api.put("/functions/hello", {"archive": zipped(code(2))})
    assert api.post(f"{V}/1/rollback").json()["version"] == 3
    artifacts = dict(FunctionVersion.objects.values_list("version", "artifact_id"))
    assert artifacts[3] == artifacts[1] != artifacts[2]
    assert artifacts[3] is not None
    assert not BuildTask.objects.exists()


def test_a_version_that_was_never_built_can_not_be_served(three: Api) -> None:
    from functions.models import FunctionVersion

    FunctionVersion.objects.filter(version=2).update(is_ready=False)
    refusal(three.post(f"{V}/2/rollback"), 409, "version_not_ready")
    weights = {"weights": [{"version": 2, "weight": 100}]}
    refusal(three.post("/functions/hello/aliases", {"name": "prod", "routing_config": weights}), 400)
    refusal(three.post("/functions/hello/invoke?version=2", {}), 404, "version_not_found")


def test_publish_waits_for_a_build_and_rollback_does_not(three: Api) -> None:
    from functions.models import BuildTask, Function, FunctionStatus

    function = Function.objects.get()
    BuildTask.objects.create(function=function, version=3)
    Function.objects.update(status=FunctionStatus.UPDATING)
    refusal(three.post(V, {"description": "x"}), 409, "version_not_ready")
    assert three.post(f"{V}/1/rollback").json()["status"] == "updating"
    assert three.get("/functions/hello").json()["version"] == 4


def test_delete_is_refused_while_something_needs_the_version(three: Api) -> None:
    sides = [{"version": 1, "weight": 100}, {"version": 2, "weight": 0}]
    body = {"name": "prod", "routing_config": {"weights": sides}}
    assert three.post("/functions/hello/aliases", body).status_code == 201
    for number, reason in ((3, "newest"), (1, "prod"), (2, "prod")):
        assert reason in refusal(three(method="DELETE", path=f"{V}/{number}"), 409, "version_in_use")["error"]
    three("DELETE", "/functions/hello/aliases/prod")
    assert three("DELETE", f"{V}/1").status_code == 204
    refusal(three.get(f"{V}/1"), 404, "version_not_found")
    assert numbers(three) == [3, 2]


def test_delete_removes_source_that_nobody_else_has(three: Api) -> None:
    from functions.models import Package

    three.post(f"{V}/2/rollback")
    three("DELETE", f"{V}/2")
    three("DELETE", f"{V}/1")
    assert Package.objects.count() == 2
    assert three.get(f"{V}/4").json()["code"] == code(2)


def test_a_number_is_never_given_twice(three: Api) -> None:
    three("DELETE", f"{V}/2")
    assert three.put("/functions/hello", {"code": code(9)}).json()["version"] == 4
    assert numbers(three) == [4, 3, 1]


@pytest.mark.parametrize("change", ["PUT", "PATCH", "rollback"])
def test_if_match_is_honoured(three: Api, change: str) -> None:
    def send(tag: str) -> Any:
        headers = {"If-Match": tag}
        if change == "rollback":
            return three.post(f"{V}/1/rollback", headers=headers)
        return three(change, "/functions/hello", json={"code": code(7)}, headers=headers)

    assert three.get("/functions/hello").headers["etag"] == '"3"'
    assert "version 3" in refusal(send('"2"'), 412, "precondition_failed")["error"]
    refusal(send("nonsense"), 400)
    assert numbers(three) == [3, 2, 1]
    answer = send('"3"')
    assert answer.status_code == 200 and answer.headers["etag"] == '"4"'
    refusal(send('"3"'), 412)


def test_concurrent_updates_get_numbers_of_their_own(api: Api) -> None:
    api.create(code=code(0))
    answers = in_threads(12, lambda n: api.put("/functions/hello", {"code": code(n + 1)}))
    assert [answer.status_code for answer in answers] == [200] * 12
    assert numbers(api) == list(range(13, 0, -1))
    codes = {row["code"] for row in api.get(V, params={"include": "code", "limit": 100}).json()["versions"]}
    assert codes == {code(n) for n in range(13)}


def test_of_concurrent_updates_of_one_version_one_wins(api: Api) -> None:
    api.create(code=code(0))
    tag = {"If-Match": '"1"'}
    answers = in_threads(8, lambda n: api.put("/functions/hello", {"code": code(n + 1)}, headers=tag))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    assert numbers(api) == [2, 1]


def test_updates_rollbacks_and_publishing_at_once(three: Api) -> None:
    def change(number: int) -> Any:
        match number % 3:
            case 0:
                return three.put("/functions/hello", {"code": code(100 + number)})
            case 1:
                return three.post(f"{V}/1/rollback")
            case _:
                return three.post(V, {"description": f"number {number}", "publish_alias": "prod"})

    answers = in_threads(9, change)
    assert sorted(answer.status_code for answer in answers) == [200] * 6 + [201] * 3
    assert numbers(three) == list(range(12, 0, -1))


def test_a_deletion_and_an_alias_of_the_version_do_not_cross(three: Api) -> None:
    for attempt in range(4):
        target = three.post(f"{V}/1/rollback").json()["version"]
        three.post(f"{V}/1/rollback")
        body = {"name": f"a{attempt}", "routing_config": {"weights": [{"version": target, "weight": 100}]}}

        def race(number: int, target: int = target, body: dict[str, Any] = body) -> Any:
            return three("DELETE", f"{V}/{target}") if number else three.post("/functions/hello/aliases", body)

        made, gone = (answer.status_code for answer in in_threads(2, race))
        assert (made, gone) in {(201, 409), (400, 204)}


def test_changes_are_in_the_audit_log(three: Api) -> None:
    from accounts.models import AuditEntry

    began = timezone.now()
    three.post(f"{V}/1/rollback")
    three.post(V, {"description": "x"})
    three("DELETE", f"{V}/2")
    entries = AuditEntry.objects.filter(
        at__gte=began, action__in=["function.rollback", "version.publish", "version.delete"]
    )
    assert [entry.action for entry in entries.order_by("at", "pk")] == [
        "function.rollback",
        "version.publish",
        "version.delete",
    ]
    rolled = entries.get(action="function.rollback")
    assert (rolled.before, rolled.after) == ({"version": 3}, {"version": 4, "content_of": 1})
