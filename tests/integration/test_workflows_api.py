"""Workflows, through the entrance: written, read, changed, checked, refused, each owner's own."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from accounts.models import AuditEntry
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, in_threads, refusal
from workflows import services
from workflows.models import StoredDefinition, Workflow

W = "/workflows"
JSON = {"content-type": "application/json"}
# Neither the alphabet's order nor that of their course.
DEFINITION: dict[str, Any] = {
    "Comment": "Ä \U0001f600",
    "StartAt": "Second",
    "States": {
        "Third": {"Type": "Succeed"},
        "Second": {"Type": "Pass", "Result": {"big": 1e300, "b": 1, "a": None}, "Next": "First"},
        "First": {"Type": "Pass", "Next": "Third"},
    },
}
OLDER = {
    "start_at": "Call",
    "states": {
        "Call": {
            "type": "task",
            "function_id": "hello",
            "retry": [{"error_equals": ["States.ALL"], "max_attempts": 2}],
            "end": True,
        }
    },
}


def workflow(name: str = "w", **changes: Any) -> dict[str, Any]:
    return {"name": name, "definition": DEFINITION} | changes


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def test_a_workflow_is_made_read_changed_and_deleted(api: Api) -> None:
    answer = api.post(W, workflow(description="Does nothing."))
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert set(made) == {"id", "name", "description", "version", "definition", "created_at", "updated_at"}
    assert (made["name"], made["version"], made["description"]) == ("w", 1, "Does nothing.")
    assert orjson.dumps(made["definition"]) == orjson.dumps(DEFINITION), "in the order it was written"
    for reference in (made["id"], "w", "w/"):
        assert api.get(f"{W}/{reference}").json() == made
    renamed = api("PATCH", f"{W}/w", json={"name": "v", "description": ""}).json()
    assert (renamed["name"], renamed["version"], "description" in renamed) == ("v", 1, False)
    other = DEFINITION | {"Comment": "Another one."}
    changed = api.put(f"{W}/v", made | {"name": "v", "definition": other}).json()
    assert (changed["version"], changed["definition"], changed["description"]) == (2, other, "Does nothing.")
    assert api.put(f"{W}/v", {"definition": other}).json()["version"] == 2, "the same one is no other"
    assert api("DELETE", f"{W}/v").status_code == 204
    refusal(api.get(f"{W}/v"), 404, "workflow_not_found")
    actions = AuditEntry.objects.filter(object_type="workflow").order_by("at").values_list("action", flat=True)
    assert list(actions) == ["workflow.create", *["workflow.update"] * 3, "workflow.delete"]


def test_versions(api: Api) -> None:
    api.post(W, workflow())
    other = DEFINITION | {"Comment": "Another one."}
    for definition in (other, DEFINITION):
        api.put(f"{W}/w", {"definition": definition})
    listed = api.get(f"{W}/w/versions?limit=2").json()
    assert ([row["version"] for row in listed["versions"]], listed["total"]) == ([3, 2], 3)
    assert "definition" not in listed["versions"][0]
    shown = [api.get(f"{W}/w/versions/{number}").json() for number in (1, 2, 3)]
    assert [one["definition"] for one in shown] == [DEFINITION, other, DEFINITION]
    assert shown[0]["definition_sha256"] == shown[2]["definition_sha256"] != shown[1]["definition_sha256"]
    for number in (0, 4, 2**31, 10**30):
        refusal(api.get(f"{W}/w/versions/{number}"), 404, "workflow_version_not_found")


def test_the_older_spelling_means_the_same(api: Api) -> None:
    made = api.post(W, workflow(definition=OLDER))
    assert made.status_code == 201, made.text
    state = made.json()["definition"]["States"]["Call"]
    assert made.json()["definition"]["StartAt"] == "Call"
    assert (state["Type"], state["Resource"], state["End"]) == ("Task", "hello", True)


@pytest.mark.parametrize(
    ("changes", "field", "told"),
    [
        ({"name": "0x"}, "name", "start with a letter"),
        ({"name": "a" * 65}, "name", "64"),
        ({"name": "a\0"}, "name", ""),
        ({"name": "a\n"}, "name", "start with a letter"),
        ({"name": 5}, "name", "string"),
        ({"description": "a\0b"}, "description", "Null"),
        ({"description": "a" * 4097}, "description", "4096"),
        ({"definition": None}, "definition", "null"),
        ({"definition": "text"}, "definition", "object"),
        ({"definition": []}, "definition", "object"),
        ({"definition": {}}, "definition", "StartAt: has to be there"),
        ({"definition": DEFINITION | {"StartAt": "Nowhere"}}, "definition", "StartAt"),
        ({"definition": DEFINITION | {"States": {"A": {"Type": "Pass"}}}}, "definition", "States.A"),
        ({"definition": DEFINITION | {"Comment": "a\0b"}}, "definition", "Comment"),
        ({"definition": DEFINITION | {"Comment": "a" * 2**20}}, "definition", "1 MiB"),
        ({"unknown": 1}, "unknown", "no such field"),
        ({"owner_id": 1}, "owner_id", "no such field"),
        ({"role": "admin"}, "role", "no such field"),
    ],
)
def test_what_is_refused_and_where(api: Api, changes: dict[str, Any], field: str, told: str) -> None:
    body = refusal(api.post(W, workflow(**changes)), 400, "invalid_request")
    assert set(body["details"]) == {field}, body
    assert told in body["details"][field][0] and body["error"].startswith(f"{field}: ")
    assert not Workflow.objects.exists() and not StoredDefinition.objects.exists()
    api.post(W, workflow("other"))
    assert set(refusal(api.put(f"{W}/other", changes), 400)["details"]) == {field}


def test_all_that_is_wrong_is_told_at_once(api: Api) -> None:
    states = {name: {"Type": "Task", "Retry": 5, "End": True} for name in "ABCDEFGH"}
    problems = refusal(api.post(W, workflow(definition={"StartAt": "A", "States": states})), 400)["details"]
    assert {one.partition(":")[0] for one in problems["definition"]} >= {f"States.{name}.Retry" for name in "ABCDEFGH"}


@pytest.mark.parametrize("depth", [201, 254, 1000])
def test_a_definition_too_deep(api: Api, depth: int) -> None:
    text = b'{"name": "w", "definition": {"StartAt": "A", "States": ' + nested(depth) + b"}}"
    assert "nested" in refusal(api.post(W, content=text, headers=JSON), 400, "invalid_request")["error"]
    answer = api.post(f"{W}/validate", content=text.replace(b'"name": "w", ', b""), headers=JSON).json()
    assert answer["valid"] is False and "nested" in answer["problems"][0]["message"]


@pytest.mark.parametrize("body", [b"{", b'{"name": NaN}', b'{"name": "\xff"}', b"[" * 100_000], ids=repr)
def test_what_is_not_json(api: Api, body: bytes) -> None:
    for path in (W, f"{W}/validate"):
        refusal(api.post(path, content=body[:100_000], headers=JSON), 400, "invalid_json")
    for whole in (b"[]", b'"x"', b"null"):
        refusal(api.post(W, content=whole, headers=JSON), 400, "invalid_request")
    refusal(api.post(W, content=b"x", headers={"content-type": "text/plain"}), 415)


def test_names_are_taken_once(api: Api) -> None:
    codes = [one.status_code for one in in_threads(4, lambda _: api.post(W, workflow()))]  # type: ignore[union-attr]
    assert sorted(codes) == [201, 409, 409, 409]
    api.post(W, workflow("other"))
    refusal(api.put(f"{W}/other", {"name": "w"}), 409, "workflow_exists")


def test_changes_at_once_are_versions_of_their_own(api: Api) -> None:
    api.post(W, workflow())
    answers = in_threads(4, lambda n: api.put(f"{W}/w", {"definition": DEFINITION | {"Comment": str(n)}}))
    assert sorted(one.json()["version"] for one in answers) == [2, 3, 4, 5]  # type: ignore[union-attr]
    assert api.get(f"{W}/w/versions").json()["total"] == 5


def test_their_number_is_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "MAX_WORKFLOWS", 2)
    answers = in_threads(4, lambda n: api.post(W, workflow(f"w{n}")))
    assert sorted(one.status_code for one in answers) == [201] * 2 + [400] * 2  # type: ignore[union-attr]


def test_lists_are_paged_and_searched(api: Api) -> None:
    for name in ("pay-late", "greet", "Pay"):
        api.post(W, workflow(name))
    page = api.get(f"{W}?offset=1&limit=1").json()
    assert ([one["name"] for one in page["workflows"]], page["total"]) == (["greet"], 3)
    assert "definition" not in page["workflows"][0]
    assert {one["name"] for one in api.get(f"{W}?name=PAY").json()["workflows"]} == {"pay-late", "Pay"}
    assert api.get(f"{W}?name=%25").json()["workflows"] == []
    for bad in ("limit=x", "name=%00", "name=" + "a" * 65):
        refusal(api.get(f"{W}?{bad}"), 400, "invalid_request")
    for missing in ("nothing", "a%00b", "01900000-0000-7000-8000-000000000000"):
        refusal(api.get(f"{W}/{missing}"), 404, "workflow_not_found")


def test_a_definition_is_checked_without_being_stored(api: Api) -> None:
    api.create("hello")
    call = {"Type": "Task", "Resource": "hello", "End": True}
    later = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True}
    branches = [
        call,
        call,
        call | {"Resource": "hello:latest"},
        call | {"Resource": "hello:1"},
        call | {"Resource": "hello:2"},
        call | {"Resource": "hello:nope"},
        call | {"Resource": "nothing"},
        later | {"Parameters": {"FunctionName.$": "$.f"}},
        later | {"Parameters": {"FunctionName": "hello", "Qualifier": "1"}},
    ]
    machines = [{"StartAt": f"S{n}", "States": {f"S{n}": state}} for n, state in enumerate(branches)]
    definition = {"StartAt": "All", "States": {"All": {"Type": "Parallel", "Branches": machines, "End": True}}}
    answer = api.post(f"{W}/validate", {"definition": definition})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["valid"], body["problems"]) == (True, [])
    found = {(one["function"], one.get("qualifier", "")): one["found"] for one in body["functions"]}
    assert found == {
        ("hello", ""): True,
        ("hello", "latest"): True,
        ("hello", "1"): True,
        ("hello", "2"): False,
        ("hello", "nope"): False,
        ("nothing", ""): False,
    }
    assert body["functions"][0]["states"] == ["S0", "S1"]
    assert not Workflow.objects.exists() and not AuditEntry.objects.filter(object_type="workflow").exists()


def test_what_is_wrong_with_a_definition_is_told_with_where_it_is(api: Api) -> None:
    for wrong, path in (
        ({}, "StartAt"),
        (DEFINITION | {"States": {"Second": {"Type": "Pass", "Next": "Nowhere"}}}, "States.Second.Next"),
        (DEFINITION | {"Comment": "a" * 2**20}, ""),
        ("text", ""),
        (None, None),
    ):
        answer = api.post(f"{W}/validate", {"definition": wrong})
        if path is None:
            assert set(refusal(answer, 400)["details"]) == {"definition"}
            continue
        body = answer.json()
        assert (answer.status_code, body["valid"], body["functions"]) == (200, False, []), body
        assert path in [one["path"] for one in body["problems"]] and all(one["message"] for one in body["problems"])
    assert set(refusal(api.post(f"{W}/validate", {}), 400)["details"]) == {"definition"}
    assert set(refusal(api.post(f"{W}/validate", {"definition": DEFINITION, "x": 1}), 400)["details"]) == {"x"}


def test_each_owner_has_its_own(locked_entrance: Api) -> None:
    ann, ben, root = (
        As(locked_entrance, make_key(n, r)) for n, r in (("ann", "developer"), ("ben", "developer"), ("root", "admin"))
    )
    mine, theirs = ann.post(W, workflow()).json(), ben.post(W, workflow()).json()
    assert mine["id"] != theirs["id"]
    assert (ann.get(f"{W}/w").json(), ben.get(f"{W}/w").json()) == (mine, theirs)
    assert ann.get(W).json()["total"] == ben.get(W).json()["total"] == 1
    assert root.get(W).json()["total"] == 2
    refusal(root.get(f"{W}/w"), 409, "ambiguous_name")
    assert root.get(f"{W}/{theirs['id']}").json() == theirs
    gone = refusal(ben("PUT", f"{W}/{mine['id']}", json={"name": "taken"}), 404, "workflow_not_found")
    nothing = refusal(ben("PUT", f"{W}/01900000-0000-7000-8000-000000000000", json={"name": "taken"}), 404)
    assert gone["error"] == nothing["error"]
    refusal(ben("DELETE", f"{W}/{mine['id']}"), 404)
    # What somebody else's function is called is nobody's business.
    ann.create("secret")
    definition = {"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "secret", "End": True}}}
    assert [
        who.post(f"{W}/validate", {"definition": definition}).json()["functions"][0]["found"] for who in (ann, ben)
    ] == [True, False]


def test_a_viewer_reads_and_checks_and_an_invoker_does_not(locked_entrance: Api) -> None:
    ann = As(locked_entrance, make_key("ann", "developer"))
    ann.post(W, workflow())
    viewer = As(locked_entrance, make_key("ann", "viewer"))
    assert viewer.get(f"{W}/w").status_code == 200
    assert viewer.post(f"{W}/validate", {"definition": DEFINITION}).status_code == 200
    refusal(viewer.post(f"{W}/w/executions", {}), 403, "forbidden")
    invoker = As(locked_entrance, make_key("ann", "invoker"))
    refusal(invoker.get(f"{W}/w"), 403, "forbidden")
    refusal(invoker.post(f"{W}/validate", {"definition": DEFINITION}), 403, "forbidden")
