"""Executions, through the entrance: started once, read, listed, stopped. Calls are answered by hand."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import AuditEntry
from invocations.models import IdempotencyKey, Invocation
from invocations.selectors import LISTED_BYTES
from nimbus_project.config import config
from tests.integration.accounts import As, make_key
from tests.integration.executions import advance, run
from tests.integration.plane import Api, in_threads, refusal
from workflows.models import Execution

JSON = {"content-type": "application/json"}
GONE = "01900000-0000-7000-8000-000000000000"
CALL = {"Type": "Task", "Resource": "hello", "End": True}
WAIT = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}
ECHO = {"StartAt": "Call", "States": {"Call": CALL}}
RUN = "/workflows/w/executions"


@pytest.fixture
def plane(api: Api) -> Api:
    """With a workflow that calls a function, and one that only waits."""
    api.create()
    for name, definition in (("w", ECHO), ("wait", WAIT)):
        assert api.post("/workflows", {"name": name, "definition": definition}).status_code == 201
    return api


def begun(api: Any, body: Any = None, path: str = RUN, **more: Any) -> dict[str, Any]:
    made = api.post(path, body, **more)
    assert made.status_code == 202, made.text
    shape: dict[str, Any] = made.json()
    return shape


def to_its_end(execution_id: str) -> None:
    run(Execution.objects.get(pk=execution_id))


def test_from_its_start_to_its_end(plane: Api) -> None:
    made = begun(plane, {"input": {"a": 1}, "name": "order-1"}, headers={"X-Request-Id": "the-start"})
    workflow = plane.get("/workflows/w").json()
    assert {key: made[key] for key in ("workflow_id", "workflow_name", "workflow_version", "name", "input")} == {
        "workflow_id": workflow["id"], "workflow_name": "w", "workflow_version": 1, "name": "order-1",
        "input": {"a": 1},
    }  # fmt: skip
    assert (made["status"], made["trigger_type"], made["request_id"]) == ("pending", "http", "the-start")
    assert not {"output", "error", "started_at", "completed_at", "duration_ms", "current_state"} & set(made)
    address = f"/executions/{made['id']}"
    advance(Execution.objects.get(pk=made["id"]))
    running = plane.get(address).json()
    assert (running["status"], running["current_state"], "completed_at" in running) == ("running", "Call", False)
    (step,) = plane.get(f"{address}/history").json()["history"]
    call = Invocation.objects.get()
    assert (step["status"], step["invocation_id"], call.request_id) == ("running", str(call.pk), "the-start")
    to_its_end(made["id"])
    ended = plane.get(address).json()
    assert (ended["status"], ended["output"], "error" in ended) == ("succeeded", {"a": 1}, False)
    assert ended["duration_ms"] >= 0 and ended["completed_at"] >= ended["started_at"] >= ended["created_at"]
    history = plane.get(f"{address}/history").json()
    assert (history["total"], history["offset"], history["limit"]) == (1, 0, 20)
    assert history["history"][0] == plane.get(f"{address}/history/1").json()
    assert history["history"][0] | {"started_at": "", "completed_at": ""} == {
        "number": 1, "state_name": "Call", "state_type": "Task", "status": "succeeded", "retry_count": 0,
        "input": {"a": 1}, "output": {"a": 1}, "invocation_id": str(call.pk), "started_at": "", "completed_at": "",
    }  # fmt: skip
    assert not AuditEntry.objects.filter(object_type="execution").exists()


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        (b"", b"{}"),
        (b"{}", b"{}"),
        (b'{"input": null}', b"null"),
        (b'{"input": "\\u0000"}', b'"\\u0000"'),
        (b'{"input": [1e300, 0.1, -0.0, 18446744073709551615]}', b"[1e+300,0.1,-0.0,18446744073709551615]"),
        (b'{"input": {"b": 1, "a": 2}}', b'{"b":1,"a":2}'),
    ],
)
def test_what_its_input_becomes(plane: Api, body: bytes, stored: bytes) -> None:
    made = plane.post(RUN, content=body, headers=JSON)
    assert made.status_code == 202, made.text
    assert bytes(Execution.objects.get().input).replace(b"e+", b"e") == stored.replace(b"e+", b"e")
    assert b'"input":' + bytes(Execution.objects.get().input) in made.content, "as it is stored"
    to_its_end(made.json()["id"])
    ended = plane.get(f"/executions/{made.json()['id']}").json()
    assert ended["input"] == ended.get("output"), "an output that is null is left out"


@pytest.mark.parametrize(
    ("body", "field", "told"),
    [
        ({"name": ""}, "name", "blank"),
        ({"name": "a b"}, "name", "1 to 80"),
        ({"name": "a\n"}, "name", "1 to 80"),
        ({"name": "ä"}, "name", "1 to 80"),
        ({"name": "a" * 81}, "name", "1 to 80"),
        ({"name": "a\0"}, "name", ""),
        ({"name": None}, "name", "null"),
        ({"name": 5}, "name", "string"),
        ({"input": {}, "version": 1}, "version", "no such field"),
        ([], "body", "dictionary"),
    ],
)
def test_what_is_refused_and_where(plane: Api, body: Any, field: str, told: str) -> None:
    details = refusal(plane.post(RUN, body), 400, "invalid_request")["details"]
    assert set(details) == {field} and told in details[field][0]
    assert not Execution.objects.exists()


def test_inputs_that_are_too_much(plane: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for depth, status in ((254, 202), (255, 400), (1000, 400)):
        body = b'{"input": ' + b"[" * depth + b"]" * depth + b"}"
        answered = plane.post(RUN, content=body, headers=JSON)
        assert answered.status_code == status, answered.text
        if status == 400:
            assert "nested deeper" in refusal(answered, 400)["details"]["input"][0]
        else:
            assert plane.get(f"/executions/{answered.json()['id']}").status_code == 200
    limit = config().max_event_bytes
    refused = refusal(plane.post(RUN, {"input": "x" * (limit - 1)}), 400, "invalid_request")
    assert str(limit) in refused["details"]["input"][0]
    refusal(plane.post(RUN, content=b"{", headers=JSON), 400, "invalid_json")
    refusal(plane.post("/workflows/nothing/executions", {}), 404, "workflow_not_found")


def test_who_asks_twice_by_name_gets_the_same_while_it_is_open(plane: Api) -> None:
    path = "/workflows/wait/executions"
    asked = in_threads(4, lambda _: begun(plane, {"name": "one", "input": [1]}, path))
    assert len({one["id"] for one in asked}) == 1, asked  # type: ignore[index]
    refusal(plane.post(path, {"name": "one", "input": [2]}), 409, "execution_exists")
    # A name is one of its workflow.
    assert begun(plane, {"name": "one", "input": [1]})["id"] != asked[0]["id"]  # type: ignore[index]
    plane.post(f"/executions/{asked[0]['id']}/stop")  # type: ignore[index]
    refusal(plane.post(path, {"name": "one", "input": [1]}), 409, "execution_exists")


def test_an_idempotency_key_is_the_same_execution_also_when_it_has_ended(plane: Api) -> None:
    key = {"Idempotency-Key": "k-1"}
    asked = in_threads(4, lambda _: begun(plane, {"input": [1]}, headers=key))
    (one,) = {one["id"] for one in asked}  # type: ignore[index]
    to_its_end(one)
    again = begun(plane, {"input": [1]}, headers=key)
    assert (again["id"], again["status"]) == (one, "succeeded")
    for body in ({"input": [2]}, {"input": [1], "name": "n"}):
        refusal(plane.post(RUN, body, headers=key), 409, "idempotency_mismatch")
    assert begun(plane, {"input": [1]}, "/workflows/wait/executions", headers=key)["id"] != one
    assert begun(plane, {"input": [1]}, headers={"Idempotency-Key": "k-2"})["id"] != one
    for bad in ("k" * 256, "a\tb"):
        refusal(plane.post(RUN, {}, headers={"Idempotency-Key": bad}), 400, "invalid_request")
    # Its execution is not kept for ever.
    Execution.objects.all().delete()
    refusal(plane.post(RUN, {"input": [1]}, headers=key), 409)


def test_a_name_and_a_key(plane: Api) -> None:
    body = {"name": "n", "input": 1}
    first = begun(plane, body, "/workflows/wait/executions")
    for _ in range(2):
        found = begun(plane, body, "/workflows/wait/executions", headers={"Idempotency-Key": "k"})
        assert found["id"] == first["id"]
    plane.post(f"/executions/{first['id']}/stop")
    refusal(plane.post("/workflows/wait/executions", body, headers={"Idempotency-Key": "k"}), 409, "execution_exists")
    assert not IdempotencyKey.objects.exists(), "what was refused holds no key"


def test_lists(plane: Api) -> None:
    ids = [begun(plane, {"input": n})["id"] for n in range(3)]
    other = begun(plane, path="/workflows/wait/executions")["id"]
    to_its_end(ids[0])

    def listed(query: str, path: str = "/executions") -> list[str]:
        body = plane.get(f"{path}?{query}").json()
        assert body["total"] == len(body["executions"]) or "limit" in query or "cursor" in query
        return [one["id"] for one in body["executions"]]

    assert listed("") == [other, *ids[::-1]]
    assert listed("workflow=w") == listed("", RUN) == ids[::-1]
    assert listed(f"workflow={plane.get('/workflows/wait').json()['id']}") == [other]
    assert listed("status=succeeded") == listed("status=succeeded&workflow=w") == listed("status=succeeded", RUN)
    assert listed("status=succeeded") == [ids[0]]
    assert listed("workflow=w&offset=1&limit=1") == [ids[1]]
    seen, cursor = [], ""
    for _ in range(3):
        page = plane.get(f"/executions?limit=2&cursor={cursor}").json()
        seen += [one["id"] for one in page["executions"]]
        if not (cursor := page.get("next_cursor", "")):
            break
    assert seen == [other, *ids[::-1]]
    for bad in ("status=success", "limit=-1", "cursor=xyz", "offset=x"):
        refusal(plane.get(f"/executions?{bad}"), 400, "invalid_request")
        refusal(plane.get(f"{RUN}?{bad}"), 400, "invalid_request")
    for missing in ("nothing", "a%00b"):
        refusal(plane.get(f"/executions?workflow={missing}"), 404, "workflow_not_found")
        refusal(plane.get(f"/executions/{missing}"), 404, "execution_not_found")
    assert listed(f"workflow={GONE}") == []


def test_history_outlives_its_workflow(plane: Api) -> None:
    workflow_id = plane.get("/workflows/w").json()["id"]
    one = begun(plane)["id"]
    assert plane("DELETE", "/workflows/w").status_code == 204
    to_its_end(one)
    assert plane.get(f"/executions/{one}").json()["status"] == "succeeded"
    assert plane.get(f"/executions?workflow={workflow_id}").json()["total"] == 1
    assert plane.get(f"/executions/{one}/history").json()["total"] == 1


def test_the_same_addresses_in_a_browser(plane: Api) -> None:
    one = begun(plane, {"input": "<b>"})["id"]
    for path in ("/workflows", "/workflows/w", RUN, "/executions", f"/executions/{one}", f"/executions/{one}/history"):
        page = plane.get(path, headers={"Accept": "text/html"})
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/html"), path
        assert "<b>&quot;" not in page.text


def test_branches_and_items_say_what_they_are_part_of(plane: Api) -> None:
    def machine(name: str, state: dict[str, Any]) -> dict[str, Any]:
        return {"StartAt": name, "States": {name: state}}

    each = {"Type": "Map", "ItemProcessor": machine("Item", {"Type": "Pass", "End": True}), "End": True}
    both = {"Type": "Parallel", "Branches": [machine("Left", CALL), machine("Each", each)], "End": True}
    plane.put("/workflows/w", {"definition": machine("Both", both)})
    one = begun(plane, {"input": ["a", "b"]})
    assert one["workflow_version"] == 2
    to_its_end(one["id"])
    rows = plane.get(f"/executions/{one['id']}/history").json()["history"]
    numbers = {row["state_name"]: row["number"] for row in rows}
    parts = sorted((row["state_name"], row["parent"], row["branch"]) for row in rows if "parent" in row)
    both_, each_ = numbers["Both"], numbers["Each"]
    assert parts == [("Each", both_, 1), ("Item", each_, 0), ("Item", each_, 1), ("Left", both_, 0)]
    assert [row["number"] for row in rows] == [1, 2, 3, 4, 5]
    assert ["branch" in row for row in rows if row["state_name"] == "Both"] == [False]
    page = plane.get(f"/executions/{one['id']}/history?offset=3&limit=1").json()
    assert ([row["number"] for row in page["history"]], page["total"]) == ([4], 5)
    for number in (0, 6, 2**31, 10**30):
        refusal(plane.get(f"/executions/{one['id']}/history/{number}"), 404, "step_not_found")
    refusal(plane.get(f"/executions/{GONE}/history/1"), 404, "execution_not_found")


def test_a_failure_is_told_in_both(plane: Api) -> None:
    states = {"Sorry": {"Type": "Fail", "Error": "OutOfStock", "Cause": "None left."}}
    plane.put("/workflows/w", {"definition": {"StartAt": "Sorry", "States": states}})
    one = begun(plane)["id"]
    to_its_end(one)
    told = plane.get(f"/executions/{one}").json(), plane.get(f"/executions/{one}/history/1").json()
    for shape in told:
        assert (shape["status"], shape["error_code"], shape["error"]) == ("failed", "OutOfStock", "None left.")
        assert "output" not in shape


def test_what_is_large_is_named_in_lists_and_shown_alone(plane: Api) -> None:
    large = "x" * LISTED_BYTES
    one = begun(plane, {"input": large})
    assert one["input"] == large
    to_its_end(one["id"])
    address = f"/executions/{one['id']}"
    rows = (*plane.get("/executions").json()["executions"], *plane.get(f"{address}/history").json()["history"])
    for row in rows:
        assert row["truncated"] == ["input", "output"] and not {"input", "output"} & set(row)
    for shape in (plane.get(address).json(), plane.get(f"{address}/history/1").json()):
        assert shape["input"] == shape["output"] == large and "truncated" not in shape


def test_stopped_with_the_calls_under_way(plane: Api) -> None:
    one = begun(plane, {"input": "secret"})["id"]
    advance(Execution.objects.get(pk=one))
    stopped = plane.post(f"/executions/{one}/stop", {"error": "Withdrawn", "cause": "They called."})
    assert stopped.status_code == 200, stopped.text
    shape = stopped.json()
    assert (shape["status"], shape["error_code"], shape["error"]) == ("cancelled", "Withdrawn", "They called.")
    assert "input" not in shape and shape == {
        k: v for k, v in plane.get(f"/executions/{one}").json().items() if k in shape
    }
    assert Invocation.objects.get().status == "cancelled"
    assert plane.get(f"/executions/{one}/history/1").json()["status"] == "cancelled"
    refusal(plane.post(f"/executions/{one}/stop"), 409, "execution_ended")
    entry = AuditEntry.objects.get(object_type="execution")
    assert (entry.action, entry.object_id) == ("execution.stop", one)
    refusal(plane.post(f"/executions/{GONE}/stop"), 404, "execution_not_found")
    two = begun(plane)["id"]
    for body, field in (
        ({"error": 5}, "error"),
        ({"cause": "a\0"}, "cause"),
        ({"error": "e" * 257}, "error"),
        ({"x": 1}, "x"),
    ):
        assert set(refusal(plane.post(f"/executions/{two}/stop", body), 400)["details"]) == {field}
    assert plane.post(f"/executions/{two}/stop").json()["error_code"] == "Nimbus.Stopped"


def test_each_owner_sees_its_own(locked_entrance: Api) -> None:
    ann, ben = (As(locked_entrance, make_key(name, "developer")) for name in ("ann", "ben"))
    for who in (ann, ben):
        who.post("/workflows", {"name": "wait", "definition": WAIT})
    path = "/workflows/wait/executions"
    one = begun(ann, {"name": "n"}, path, headers={"Idempotency-Key": "k"})["id"]
    theirs = begun(ben, {"name": "n"}, path, headers={"Idempotency-Key": "k"})["id"]
    assert one != theirs
    for address in (f"/executions/{one}", f"/executions/{one}/history", f"/executions/{one}/history/1"):
        assert ann.get(address).status_code == 200
        assert refusal(ben.get(address), 404)["error"] == refusal(ben.get(address.replace(one, GONE)), 404)["error"]
    refusal(ben.post(f"/executions/{one}/stop", {}), 404, "execution_not_found")
    mine = ann.get("/workflows/wait").json()["id"]
    refusal(ben.post(f"/workflows/{mine}/executions", {}), 404, "workflow_not_found")
    assert ben.get(f"/executions?workflow={mine}").json()["executions"] == []
    assert [row["id"] for row in ben.get("/executions").json()["executions"]] == [theirs]
    root = As(locked_entrance, make_key("root", "admin"))
    assert root.get("/executions").json()["total"] == 2


def test_an_invoker_starts_and_stops_and_reads_nothing(locked_entrance: Api) -> None:
    ann = As(locked_entrance, make_key("ann", "developer"))
    ann.post("/workflows", {"name": "wait", "definition": WAIT})
    hers = begun(ann, {"input": "secret"}, "/workflows/wait/executions")["id"]
    invoker = As(locked_entrance, make_key("ann", "invoker"))
    assert begun(invoker, {"input": 1}, "/workflows/wait/executions")["input"] == 1
    for address in ("/executions", f"/executions/{hers}", f"/executions/{hers}/history", "/workflows/wait/executions"):
        refusal(invoker.get(address), 403, "forbidden")
    stopped = invoker.post(f"/executions/{hers}/stop", {})
    assert stopped.json()["status"] == "cancelled" and "secret" not in stopped.text
    viewer = As(locked_entrance, make_key("ann", "viewer"))
    assert viewer.get("/executions").json()["total"] == 2
    refusal(viewer.post(f"/executions/{hers}/stop", {}), 403, "forbidden")
