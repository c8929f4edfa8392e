"""Environments: what they change of a call, from memory and at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEntry
from accounts.principal import Principal, acting_as
from functions import directory, environments
from functions.errors import EnvironmentInUse, EnvironmentNotFound
from functions.models import Environment, Function, FunctionEnvironment
from nimbus_project.core import queue
from nimbus_project.core.queue import Task
from tests.integration.plane import Api, in_threads, living_workers, make_function, refusal, wait_until

pytestmark = pytest.mark.usefixtures("transactional_db", "no_environments")

TELL = """
import os
def main(event, context):
    names = {name: os.environ.get(name) for name in event}
    return names | {"memory_mb": context.memory_limit_mb, "version": context.function_version}
"""
SLOW = "import time\ndef main(event):\n    time.sleep(event['sec'])\n    return 'done'\n"


@pytest.fixture
def no_environments(transactional_db: None) -> Iterator[None]:
    yield
    Environment.objects.all().delete()
    directory.forget_all()


@pytest.fixture
def ready(worker: None) -> None:
    wait_until(living_workers, "the worker's heartbeat")


@pytest.fixture
def staging(api: Api) -> dict[str, Any]:
    answer = api.post("/environments", {"name": "staging", "description": "before production"})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def told(api: Api, query: str = "", *names: str) -> dict[str, Any]:
    answer = api.post(f"/functions/tell/invoke{query}", list(names))
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()["body"]
    return body


# -- the environments themselves


def test_make_read_change_delete(api: Api, staging: dict[str, Any]) -> None:
    assert set(staging) == {"id", "name", "description", "created_at", "updated_at"}
    api.post("/environments", {"name": "dev"})
    listed = api.get("/environments").json()
    assert [one["name"] for one in listed["environments"]] == ["dev", "staging"]
    assert (listed["total"], listed["offset"], listed["limit"]) == (2, 0, 20)
    assert api.get("/environments/staging").json() == api.get(f"/environments/{staging['id']}").json() == staging
    changed = api.put("/environments/staging", staging | {"description": ""})
    assert changed.status_code == 200, changed.text
    assert "description" not in changed.json()
    assert api("DELETE", "/environments/staging").status_code == 204
    refusal(api.get("/environments/staging"), 404, "environment_not_found")
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"environment.create", "environment.update", "environment.delete"} <= actions


def test_names_are_taken_once_and_stay(api: Api, staging: dict[str, Any]) -> None:
    refusal(api.post("/environments", {"name": "staging"}), 409, "environment_exists")
    refusal(api.put("/environments/staging", {"name": "other"}), 400)
    for name in ("", "a b", "1a", "x" * 65, 7, None):
        refusal(api.post("/environments", {"name": name}), 400)


def test_there_is_a_bound(monkeypatch: pytest.MonkeyPatch, api: Api, staging: dict[str, Any]) -> None:
    monkeypatch.setattr(environments, "MAX_ENVIRONMENTS", 1)
    refusal(api.post("/environments", {"name": "dev"}), 400)


def test_what_is_changed_of_a_function(api: Api, staging: dict[str, Any]) -> None:
    made = api.create()
    route = "/functions/hello/environments/staging"
    nothing = {"env_vars": {}, "memory_mb": None, "timeout_sec": None, "active_alias": ""}
    assert api.get(route).json() == nothing | {
        "environment": "staging",
        "environment_id": staging["id"],
        "function_id": made["id"],
    }
    put = api.put(route, {"env_vars": {"A": "1"}, "memory_mb": 512})
    assert put.status_code == 200, put.text
    shown = api.get(f"/functions/{made['id']}/environments/{staging['id']}").json()
    assert (shown["env_vars"], shown["memory_mb"], shown["timeout_sec"]) == ({"A": "1"}, 512, None)
    assert api.put(route, shown | {"timeout_sec": 5}).status_code == 200
    assert api.put(route, {"timeout_sec": 5}).json()["env_vars"] == {}
    assert api.get("/functions/hello").json()["version"] == 1
    assert api("DELETE", route).status_code == 204
    refusal(api("DELETE", route), 404, "environment_not_found")


@pytest.mark.parametrize(
    "body",
    [
        {"memory_mb": 127},
        {"memory_mb": ""},
        {"timeout_sec": 301},
        {"env_vars": {"NIMBUS_A": "1"}},
        {"env_vars": {"A": "x" * 5000}},
        {"env_vars": []},
        {"memory": 512},
    ],
)
def test_bad_overrides_are_refused(api: Api, staging: dict[str, Any], body: dict[str, Any]) -> None:
    api.create()
    refusal(api.put("/functions/hello/environments/staging", body), 400)
    assert not FunctionEnvironment.objects.exists()


def test_an_alias_that_is_not_there_is_refused(api: Api, staging: dict[str, Any]) -> None:
    api.create()
    route = "/functions/hello/environments/staging"
    refused = refusal(api.put(route, {"active_alias": "prod"}), 400, "invalid_request")
    assert refused["details"] == {"active_alias": ["The function hello has no alias of this name."]}
    assert not FunctionEnvironment.objects.exists()
    assert api.put(route, {"active_alias": "latest"}).status_code == 200


# -- at run time


def test_its_overrides_apply_to_calls_that_name_it(api: Api, staging: dict[str, Any], ready: None) -> None:
    api.create("tell", code=TELL, env_vars={"A": "base", "B": "base"})
    api.put("/functions/tell/secrets/C", {"value": "secret"})
    given = {"env_vars": {"A": "staging", "C": "staging"}, "memory_mb": 512}
    api.put("/functions/tell/environments/staging", given)
    base = {"A": "base", "B": "base", "C": "secret", "memory_mb": 256, "version": 1}
    for _ in range(2):
        assert told(api, "", "A", "B", "C") == base
        assert told(api, "?environment=staging", "A", "B", "C") == base | {"A": "staging", "memory_mb": 512}
    assert told(api, f"?environment={staging['id']}", "A")["A"] == "staging"


def test_a_change_is_live_for_the_very_next_call(api: Api, staging: dict[str, Any], ready: None) -> None:
    api.create("tell", code=TELL)
    for number in range(10):
        api.put("/functions/tell/environments/staging", {"env_vars": {"A": str(number)}})
        assert told(api, "?environment=staging", "A")["A"] == str(number)
    api("DELETE", "/functions/tell/environments/staging")
    assert told(api, "?environment=staging", "A")["A"] is None


def test_the_invocation_tells_its_environment(api: Api, staging: dict[str, Any], ready: None) -> None:
    api.create("tell", code=TELL)
    api.put("/functions/tell/environments/staging", {"env_vars": {"A": "staging"}})
    sync = api.post("/functions/tell/invoke?environment=staging", ["A"]).json()["invocation_id"]
    queued = api.post(f"/functions/tell/async?environment={staging['id']}", ["A"]).json()["invocation_id"]
    for invocation_id in (sync, queued):
        row = wait_until(lambda i=invocation_id: _ended(api, i), "the run")
        assert (row["environment"], row["output"]["A"]) == ("staging", "staging")
    plain = api.post("/functions/tell/invoke", ["A"]).json()["invocation_id"]
    assert "environment" not in wait_until(lambda: _ended(api, plain), "the run")


def _ended(api: Api, invocation_id: str) -> dict[str, Any] | None:
    row: dict[str, Any] = api.get(f"/invocations/{invocation_id}").json()
    return row if row.get("status") == "success" else None


def test_its_timeout_is_longer_or_shorter_than_the_versions(api: Api, staging: dict[str, Any], ready: None) -> None:
    api.create("slow", code=SLOW, timeout_sec=1)
    api.put("/functions/slow/environments/staging", {"timeout_sec": 10})
    assert api.post("/functions/slow/invoke", {"sec": 1.4}).status_code == 504
    assert api.post("/functions/slow/invoke?environment=staging", {"sec": 1.4}).status_code == 200
    api.put("/functions/slow", {"timeout_sec": 10})
    api.put("/functions/slow/environments/staging", {"timeout_sec": 1})
    assert api.post("/functions/slow/invoke?environment=staging", {"sec": 1.4}).status_code == 504


def test_its_alias_runs_unless_the_call_chooses(api: Api, staging: dict[str, Any], ready: None) -> None:
    api.create("tell", code=TELL)
    api.put("/functions/tell", {"memory_mb": 128})
    api.put("/functions/tell", {"memory_mb": 192})
    for name, version in (("old", 1), ("mid", 2)):
        weights = [{"version": version, "weight": 100}]
        assert (
            api.post("/functions/tell/aliases", {"name": name, "routing_config": {"weights": weights}}).status_code
            == 201
        )
    api.put("/functions/tell/environments/staging", {"active_alias": "old"})
    assert told(api, "?environment=staging")["version"] == 1
    assert told(api, "?environment=staging&alias=mid")["version"] == 2
    assert told(api, "?environment=staging&version=3")["version"] == 3
    assert told(api)["version"] == 3
    assert api.post("/functions/tell/invoke?environment=staging", []).json()["alias_used"] == "old"


def test_one_that_changes_nothing_here_is_recorded_all_the_same(api: Api, staging: dict[str, Any], ready: None) -> None:
    api.create("tell", code=TELL)
    invocation_id = api.post("/functions/tell/invoke?environment=staging", []).json()["invocation_id"]
    row = wait_until(lambda: _ended(api, invocation_id), "the run")
    assert row["environment"] == "staging"


@pytest.mark.parametrize("route", ["invoke", "async"])
def test_an_unknown_one_is_not_found(api: Api, route: str, ready: None) -> None:
    api.create("tell", code=TELL)
    refusal(api.post(f"/functions/tell/{route}?environment=nowhere", []), 404, "environment_not_found")


def test_a_new_and_a_deleted_one_are_known_at_once(api: Api, ready: None) -> None:
    api.create("tell", code=TELL)
    told(api)
    for _ in range(3):
        api.post("/environments", {"name": "brief"})
        told(api, "?environment=brief")
        api("DELETE", "/environments/brief")
        refusal(api.post("/functions/tell/invoke?environment=brief", []), 404, "environment_not_found")


def test_a_queued_call_whose_environment_is_gone_ends_with_a_sentence(api: Api, ready: None) -> None:
    api.create("tell", code=TELL)
    api.post("/environments", {"name": "brief"})
    accepted = api.post("/functions/tell/async?environment=brief&delay_sec=1", []).json()["invocation_id"]
    api("DELETE", "/environments/brief")

    def failed() -> dict[str, Any] | None:
        row: dict[str, Any] = api.get(f"/invocations/{accepted}").json()
        return row if row["status"] == "failed" else None

    # Delayed work is sent by the sweeper, which has no beat here.
    time_due = time.monotonic() + 1.1
    wait_until(lambda: time.monotonic() > time_due, "the delay")
    queue.send(Task.RUN_INVOCATION, accepted)
    assert "its environment brief was deleted" in wait_until(failed, "the end")["error"]


def test_a_known_environment_costs_no_query(api: Api, staging: dict[str, Any], ready: None) -> None:
    function = make_function("tell", code=TELL)
    live = directory.look_up(str(function.pk))
    with CaptureQueriesContext(connection) as queries:
        assert live.environment("staging").environment == "staging"
        assert live.environment("").environment == ""
        with pytest.raises(Exception, match="no environment"):
            live.environment("nowhere")
    assert len(queries) == 0


def test_what_others_have_in_it_only_an_admin_deletes(api: Api, staging: dict[str, Any]) -> None:
    made = api.create("theirs")
    api.put("/functions/theirs/environments/staging", {"memory_mb": 512})
    owner, other = (get_user_model().objects.create_user(name) for name in ("ann", "ben"))
    Function.objects.filter(pk=made["id"]).update(owner=owner)
    try:
        with acting_as(Principal(user_id=other.pk, name="ben", role="developer")), pytest.raises(EnvironmentInUse):
            environments.environment_delete("staging")
        assert FunctionEnvironment.objects.exists()
        with acting_as(Principal(user_id=owner.pk, name="ann", role="developer")):
            environments.environment_delete("staging")
    finally:
        get_user_model().objects.all().delete()


def test_deleted_and_set_at_once_neither_waits_for_ever_nor_leaves_a_trace(staging: dict[str, Any]) -> None:
    made = [make_function(f"f{number}") for number in range(8)]

    def change(number: int) -> object:
        if number == 8:
            return environments.environment_delete("staging")
        return environments.overrides_set(f"f{number}", "staging", {"memory_mb": 512})

    results = in_threads(9, change)
    known = (type(None), FunctionEnvironment, EnvironmentNotFound, EnvironmentInUse)
    assert all(isinstance(one, known) for one in results), results
    if not Environment.objects.exists():
        assert not FunctionEnvironment.objects.exists()
        for function, result in zip(made, results, strict=False):
            function.refresh_from_db()
            # Set, then deleted: two changes, so that no sandbox of in between is ever used again.
            assert function.generation == (2 if isinstance(result, FunctionEnvironment) else 0)
