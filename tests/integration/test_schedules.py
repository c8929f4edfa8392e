"""Schedules through the API: what is taken, what is refused, whose they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, refusal

pytestmark = pytest.mark.django_db(transaction=True)

NIGHTLY = {"function": "hello", "cron_expression": "0 2 * * *", "cron_timezone": "Europe/Berlin"}


@pytest.fixture
def hello(api: Api) -> dict[str, Any]:
    return api.create("hello")


def make(api: Api, **changes: Any) -> dict[str, Any]:
    answer = api.post("/schedules", NIGHTLY | changes)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


@pytest.mark.usefixtures("hello")
class TestCrud:
    def test_made_read_changed_deleted(self, api: Api, hello: dict[str, Any]) -> None:
        made = make(api, name="nightly", payload={"kind": "daily"}, description="Reports.")
        assert made["function_id"] == hello["id"] and made["function_name"] == "hello"
        assert made["payload"] == {"kind": "daily"} and made["enabled"] is True and made["own"] is False
        assert (made["catch_up_policy"], made["overlap_policy"]) == ("skip", "allow")
        next_at = datetime.fromisoformat(made["next_fire_at"])
        assert next_at > datetime.now(UTC) and next_at.utcoffset() == UTC.utcoffset(None)
        assert api.get(f"/schedules/{made['id']}").json() == made
        assert api.get("/schedules").json()["schedules"] == [made]
        changes = {"cron_expression": "30 0 3 * * *", "overlap_policy": "skip", "payload": None}
        changed = api("PATCH", f"/schedules/{made['id']}", json=changes).json()
        assert changed["cron_expression"] == "30 0 3 * * *" and changed["overlap_policy"] == "skip"
        assert "payload" not in changed and changed["name"] == "nightly"
        assert changed["next_fire_at"] != made["next_fire_at"]
        # What was read may be sent back.
        assert api.put(f"/schedules/{made['id']}", changed).status_code == 200
        assert api("DELETE", f"/schedules/{made['id']}").status_code == 204
        refusal(api.get(f"/schedules/{made['id']}"), 404, "schedule_not_found")
        refusal(api("DELETE", f"/schedules/{made['id']}"), 404, "schedule_not_found")

    def test_several_of_one_function_with_names_of_their_own(self, api: Api) -> None:
        first, second = make(api), make(api)
        assert first["name"] != second["name"]
        make(api, name="nightly")
        refusal(api.post("/schedules", NIGHTLY | {"name": "nightly"}), 409, "schedule_exists")
        refusal(api("PATCH", f"/schedules/{first['id']}", json={"name": "nightly"}), 409, "schedule_exists")
        api.create("other")
        make(api, name="nightly", function="other")
        assert api.get("/schedules?function_id=hello").json()["total"] == 3
        assert api.get("/schedules?function_id=other").json()["total"] == 1
        assert api.get("/schedules?limit=1").json()["total"] == 4

    def test_not_without_end(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        from triggers import schedules

        monkeypatch.setattr(schedules, "MAX_SCHEDULES", 1)
        make(api)
        assert "function" in refusal(api.post("/schedules", NIGHTLY), 400)["details"]

    def test_paused_from_the_start_and_filtered(self, api: Api) -> None:
        paused, running = make(api, enabled=False), make(api)
        assert "next_fire_at" not in paused
        assert [row["id"] for row in api.get("/schedules?enabled=false").json()["schedules"]] == [paused["id"]]
        assert [row["id"] for row in api.get("/schedules?enabled=true").json()["schedules"]] == [running["id"]]
        refusal(api.get("/schedules?enabled=perhaps"), 400)

    def test_pause_and_resume(self, api: Api) -> None:
        made = make(api)
        paused = api.post(f"/schedules/{made['id']}/pause").json()
        assert paused["enabled"] is False and "next_fire_at" not in paused
        assert api.post(f"/schedules/{made['id']}/pause").status_code == 200
        resumed = api.post(f"/schedules/{made['id']}/resume").json()
        assert resumed["enabled"] is True and resumed["next_fire_at"] == made["next_fire_at"]

    def test_the_next_ten(self, api: Api) -> None:
        made = make(api, cron_expression="0 2 * * *", cron_timezone="UTC")
        told = api.get(f"/schedules/{made['id']}/next").json()
        times = [datetime.fromisoformat(text) for text in told["next_fire_times"]]
        assert len(times) == 10 and times == sorted(times)
        assert {(at.hour, at.minute) for at in times} == {(2, 0)}
        assert told["next_fire_times"][0] == made["next_fire_at"]
        api.post(f"/schedules/{made['id']}/pause")
        assert api.get(f"/schedules/{made['id']}/next").json()["next_fire_times"] == told["next_fire_times"]

    def test_run_now_and_history(self, api: Api) -> None:
        made = make(api, enabled=False, payload=[1, 2])
        ran = api.post(f"/schedules/{made['id']}/run")
        assert ran.status_code == 202 and ran.json()["status"] == "accepted"
        run = api.get(f"/invocations/{ran.json()['invocation_id']}").json()
        assert run["trigger_type"] == "cron" and run["request_id"] == ran.headers["x-request-id"]
        assert run["input"]["source"] == "cron" and run["input"]["cron"] == "0 2 * * *"
        assert run["input"]["payload"] == [1, 2]
        at = datetime.fromisoformat(run["input"]["scheduled_at"])
        assert abs((datetime.now(UTC) - at).total_seconds()) < 60
        told = api.get(f"/schedules/{made['id']}/history").json()
        (line,) = told["history"]
        assert told["total"] == 1
        assert (line["status"], line["by_request"], line["catch_up"]) == ("fired", True, False)
        assert line["invocation_id"] == run["id"] and line["invocation_status"] == "pending"
        assert api.get(f"/schedules/{made['id']}/history?status=refused").json()["total"] == 0
        refusal(api.get(f"/schedules/{made['id']}/history?status=odd"), 400)

    def test_run_now_of_what_can_not_run(self, api: Api) -> None:
        made = make(api)
        api.post("/functions/hello/offline")
        refusal(api.post(f"/schedules/{made['id']}/run"), 400, "function_not_active")
        assert api.get(f"/schedules/{made['id']}/history").json()["total"] == 0

    def test_gone_with_the_function(self, api: Api) -> None:
        made = make(api)
        api("DELETE", "/functions/hello")
        refusal(api.get(f"/schedules/{made['id']}"), 404, "schedule_not_found")

    def test_every_change_is_in_the_audit_log(self, api: Api) -> None:
        made = make(api, name="nightly", payload={"key": "not to be seen"})
        path = f"/schedules/{made['id']}"
        api("PATCH", path, json={"cron_expression": "0 3 * * *", "payload": {"key": "nor this"}})
        for action in ("pause", "resume", "run"):
            api.post(f"{path}/{action}")
        api("DELETE", path)
        answer = api.get(f"/audit?object={made['id']}")
        rows = answer.json()["audit"]
        verbs = ["create", "update", "pause", "resume", "run", "delete"]
        assert [row["action"] for row in reversed(rows)] == [f"schedule.{verb}" for verb in verbs]
        assert {row["object_name"] for row in rows} == {"hello/nightly"}
        assert "not to be seen" not in answer.text and "nor this" not in answer.text


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"cron_expression": "* * *"}, "cron_expression"),
    ({"cron_expression": "61 * * * *"}, "cron_expression"),
    ({"cron_expression": "0 0 30 2 *"}, "cron_expression"),
    ({"cron_expression": ""}, "cron_expression"),
    ({"cron_expression": None}, "cron_expression"),
    ({"cron_expression": 5}, "cron_expression"),
    ({"cron_expression": "* " * 300}, "cron_expression"),
    ({"cron_expression": "* * * *\0 *"}, "cron_expression"),
    ({"cron_expression": "30 2 * 3 0L"}, "cron_expression"),
    ({"cron_timezone": "Mars/Olympus"}, "cron_timezone"),
    ({"cron_timezone": "../../etc/passwd"}, "cron_timezone"),
    ({"cron_timezone": ""}, "cron_timezone"),
    ({"name": "own"}, "name"),
    ({"name": "9"}, "name"),
    ({"name": "a" * 65}, "name"),
    ({"alias": "nothing"}, "alias"),
    ({"version": 7}, "version"),
    ({"version": 0}, "version"),
    ({"version": 1, "alias": "latest"}, "alias"),
    ({"catch_up_policy": "always"}, "catch_up_policy"),
    ({"overlap_policy": "queue"}, "overlap_policy"),
    ({"enabled": "perhaps"}, "enabled"),
    ({"payload": "x" * 262_145}, "payload"),
    ({"workflow": "w"}, "workflow"),
    ({"cron": "* * * * *"}, "cron"),
]


@pytest.mark.usefixtures("hello")
def test_refused_with_the_field(api: Api) -> None:
    made = make(api)
    for changes, field in REFUSED:
        for answer in (
            api.post("/schedules", NIGHTLY | changes),
            api("PATCH", f"/schedules/{made['id']}", json=changes),
        ):
            assert list(refusal(answer, 400)["details"]) == [field], changes
    assert api.get("/schedules").json()["schedules"] == [made]


@pytest.mark.usefixtures("hello")
def test_other_refusals(api: Api) -> None:
    refusal(api.post("/schedules", NIGHTLY | {"function": "nothing"}), 404, "function_not_found")
    refusal(api.post("/schedules", {"function": "hello"}), 400)
    refusal(api.post("/schedules", {"workflow": "w", "cron_expression": "* * * * *"}), 404, "workflow_not_found")
    refusal(api.get("/schedules?function_id=nothing"), 404, "function_not_found")
    for reference in ("nothing", "01900000-0000-7000-8000-000000000000", "%00"):
        refusal(api.get(f"/schedules/{reference}"), 404)
    made = make(api)
    api.create("other")
    assert "function" in refusal(api.put(f"/schedules/{made['id']}", {"function": "other"}), 400)["details"]
    refusal(api.put(f"/schedules/{made['id']}", {"function": "nothing"}), 404, "function_not_found")
    assert api.put(f"/schedules/{made['id']}", {"function": "hello"}).status_code == 200


class TestOwn:
    def test_of_the_function_itself(self, api: Api) -> None:
        made = api.create("hello", cron_expression="0 9 * * MON-FRI", cron_timezone="America/New_York")
        assert (made["cron_expression"], made["cron_timezone"]) == ("0 9 * * MON-FRI", "America/New_York")
        (row,) = api.get("/schedules").json()["schedules"]
        assert (row["own"], row["name"], row["cron_expression"]) == (True, "own", "0 9 * * MON-FRI")
        path = f"/schedules/{row['id']}"
        for changes in ({"cron_expression": "* * * * *"}, {"cron_timezone": "UTC"}, {"name": "mine"}):
            refusal(api("PATCH", path, json=changes), 409, "schedule_is_own")
        refusal(api("DELETE", path), 409, "schedule_is_own")
        changed = api("PATCH", path, json={"payload": 1, "overlap_policy": "skip"}).json()
        assert api.put(path, changed).json()["payload"] == 1
        api("PATCH", "/functions/hello", json={"cron_expression": "0 10 * * *"})
        (again,) = api.get("/schedules").json()["schedules"]
        assert (again["id"], again["cron_expression"], again["payload"]) == (row["id"], "0 10 * * *", 1)
        cleared = api("PATCH", "/functions/hello", json={"cron_expression": ""}).json()
        assert "cron_expression" not in cleared and "cron_timezone" not in cleared
        assert api.get("/schedules").json()["total"] == 0

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("cron_expression", "* * *"),
            ("cron_expression", "0 0 30 2 *"),
            ("cron_expression", 5),
            ("cron_timezone", "Mars/Olympus"),
            ("cron_timezone", ""),
        ],
    )
    def test_refused_with_the_field(self, api: Api, field: str, value: Any) -> None:
        source = {"name": "f", "runtime": "python3.11", "handler": "handler.main", "code": "def main(e): return e"}
        assert field in refusal(api.post("/functions", source | {field: value}), 400)["details"]
        api.create("hello")
        assert field in refusal(api("PATCH", "/functions/hello", json={field: value}), 400)["details"]

    def test_it_makes_no_version_and_is_in_the_audit_log(self, api: Api) -> None:
        api.create("hello")
        changed = api("PATCH", "/functions/hello", json={"cron_expression": "0 9 * * *"}).json()
        assert changed["version"] == 1 and changed["cron_timezone"] == "UTC"
        entry = api.get("/audit?action=function.update").json()["audit"][0]
        assert entry["after"]["cron_expression"] == "0 9 * * *"

    def test_it_travels(self, api: Api) -> None:
        api.create("hello", cron_expression="0 9 * * *", cron_timezone="Europe/Berlin")
        data = api.get("/functions/hello/export").content
        api("DELETE", "/functions/hello")
        assert api.post("/functions/import", files={"file": ("f.zip", data)}).status_code == 200
        found = api.get("/functions/hello").json()
        assert (found["cron_expression"], found["cron_timezone"]) == ("0 9 * * *", "Europe/Berlin")


class TestOwners:
    def test_anothers_is_not_there(self, locked_entrance: Api) -> None:
        ann, ben = (As(locked_entrance, make_key(name, "developer")) for name in ("ann", "ben"))
        ann.create("hello")
        made = ann.post("/schedules", NIGHTLY).json()
        assert ben.get("/schedules").json()["schedules"] == []
        refusal(ben.post("/schedules", NIGHTLY), 404, "function_not_found")
        missing = "01900000-0000-7000-8000-000000000000"
        for method, tail, body in (
            ("GET", "", None),
            ("PUT", "", {"enabled": False}),
            ("PATCH", "", {"enabled": False}),
            ("DELETE", "", None),
            ("POST", "/pause", {}),
            ("POST", "/resume", {}),
            ("POST", "/run", {}),
            ("GET", "/next", None),
            ("GET", "/history", None),
        ):
            theirs, none = (ben(method, f"/schedules/{one}{tail}", json=body) for one in (made["id"], missing))
            assert theirs.status_code == none.status_code == 404, (method, tail)
            assert theirs.json()["error"] == none.json()["error"]
        assert ann.get(f"/schedules/{made['id']}").json() == made

    def test_a_shared_functions_schedules_are_everybodys(self, locked_entrance: Api) -> None:
        ann, ben = (As(locked_entrance, make_key(name, "developer")) for name in ("ann", "ben"))
        ann.create("hello", shared=True)
        made = ben.post("/schedules", NIGHTLY)
        assert made.status_code == 201 and made.json()["created_by"] == "ben"
        assert ann.get("/schedules").json()["total"] == 1
        assert ben.post(f"/schedules/{made.json()['id']}/pause").status_code == 200
