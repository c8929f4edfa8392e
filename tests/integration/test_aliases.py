"""Aliases through the entrance: rules, splits, sessions, and calls that ask no database."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from functions import directory
from tests.integration.plane import Api, in_threads, refusal, wait_until

A = "/functions/hello/aliases"


def code(number: int) -> str:
    return f"def main(event, context):\n    return {{'code': {number}, 'alias': context.alias}}\n"


def routing(*pairs: tuple[Any, Any]) -> dict[str, Any]:
    return {"weights": [{"version": version, "weight": weight} for version, weight in pairs]}


@pytest.fixture
def two(api: Api) -> Api:
    """A function with versions 1 and 2."""
    api.create(code=code(1))
    assert api.put("/functions/hello", {"code": code(2)}).status_code == 200
    return api


def make(api: Api, name: str = "prod", *pairs: tuple[Any, Any], **more: Any) -> Any:
    return api.post(A, {"name": name, "routing_config": routing(*pairs or [(1, 100)])} | more)


def test_an_alias_is_made_read_changed_and_deleted(two: Api) -> None:
    answer = make(two, "prod", (2, 10), (1, 90), description="what users get")
    assert answer.status_code == 201
    alias = answer.json()
    assert alias["routing_config"] == routing((1, 90), (2, 10)) and alias["description"] == "what users get"
    assert {"created_at", "updated_at"} <= set(alias)
    assert two.get(f"{A}/prod").json() == alias
    changed = two.put(f"{A}/prod", {"routing_config": routing((2, 100))}).json()
    assert changed["routing_config"] == routing((2, 100)) and changed["description"] == "what users get"
    assert two.put(f"{A}/prod", changed).status_code == 200, "what was read may be sent back"
    make(two, "beta")
    page = two.get(A).json()
    assert [row["name"] for row in page["aliases"]] == ["beta", "prod"] and page["total"] == 2
    assert two("DELETE", f"{A}/prod").status_code == 204
    for answer in (two.get(f"{A}/prod"), two.put(f"{A}/prod", {}), two("DELETE", f"{A}/prod")):
        refusal(answer, 404, "alias_not_found")


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (routing((1, 90))["weights"], "sum to 90"),
        (routing((1, 50), (1, 50))["weights"], "more than once"),
        (routing((1, 101), (2, -1))["weights"], "from 0 to 100"),
        (routing((1, 50.5), (2, 49.5))["weights"], "integer"),
        (routing((1, 50), (7, 50))["weights"], "Version 7 does not exist"),
        (routing((2**40, 100))["weights"], "does not exist"),
        ([], "at least one"),
        ([{"version": 1}], "version"),
        ([{"version": 1, "weight": 100, "colour": "red"}], "nothing else"),
        ({"1": 100}, "list"),
        (None, "null"),
    ],
)
def test_a_refusal_says_which_rule_broke(two: Api, weights: Any, says: str) -> None:
    body = {"name": "prod", "routing_config": {"weights": weights}}
    told = refusal(two.post(A, body), 400)
    assert list(told["details"]) == ["routing_config.weights"]
    assert says in told["details"]["routing_config.weights"][0]
    make(two, "beta")
    told = refusal(two.put(f"{A}/beta", {"routing_config": {"weights": weights}}), 400)
    assert says in told["details"]["routing_config.weights"][0]
    assert two.get(f"{A}/beta").json()["routing_config"] == routing((1, 100))


@pytest.mark.parametrize("name", ["", " prod", "1st", "a b", "a" * 65, "prod\n", "ä", 7, None])
def test_a_name_that_can_not_be(two: Api, name: Any) -> None:
    body = {"name": name, "routing_config": routing((1, 100))}
    assert "name" in refusal(two.post(A, body), 400)["details"]


def test_a_name_is_there_once(two: Api) -> None:
    answers = in_threads(6, lambda _: make(two))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"alias_exists"}


def test_the_name_can_not_change(two: Api) -> None:
    make(two)
    refusal(two.put(f"{A}/prod", {"name": "other"}), 400)


def test_latest_is_the_newest_version_and_reserved(two: Api) -> None:
    assert two.get(f"{A}/latest").json()["routing_config"] == routing((2, 100))
    assert two.get(A).json()["aliases"] == []
    for answer in (make(two, "latest"), two.put(f"{A}/latest", {}), two("DELETE", f"{A}/latest")):
        assert "latest" in refusal(answer, 400)["error"]


def invoke(api: Api, query: str = "", **headers: str) -> Any:
    answer = api.post(f"/functions/hello/invoke{query}", {}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_calls_run_what_they_ask_for_and_record_it(two: Api, worker: None) -> None:
    make(two, "prod", (1, 100))
    got = invoke(two, "?alias=prod")
    assert (got["version"], got["alias_used"], got["body"]) == (1, "prod", {"code": 1, "alias": "prod"})
    got = invoke(two, "?version=1")
    assert (got["version"], got["body"]["code"]) == (1, 1) and "alias_used" not in got
    got = invoke(two, "?alias=latest")
    assert (got["version"], got["alias_used"]) == (2, "latest")
    assert invoke(two)["version"] == 2
    seen = two.get("/functions/hello/invocations").json()["invocations"]
    assert [(row["version"], row.get("alias_used", "")) for row in seen] == [
        (2, ""),
        (2, "latest"),
        (1, ""),
        (1, "prod"),
    ]


def test_an_accepted_call_keeps_the_version_it_was_given(two: Api, worker: None) -> None:
    make(two, "prod", (1, 100))
    accepted = two.post("/functions/hello/async?alias=prod", {}).json()
    two.put(f"{A}/prod", {"routing_config": routing((2, 100))})

    def row() -> Any:
        return two.get(f"/invocations/{accepted['invocation_id']}").json()

    wait_until(lambda: row()["status"] == "success", "the run")
    assert (row()["version"], row()["alias_used"]) == (1, "prod")


@pytest.mark.parametrize(
    ("query", "status", "code_"),
    [
        ("?alias=nobody", 404, "alias_not_found"),
        ("?alias=%00", 404, "alias_not_found"),
        ("?version=9", 404, "version_not_found"),
        ("?version=0", 404, "version_not_found"),
        ("?version=999999999", 404, "version_not_found"),
        ("?version=-1", 400, "invalid_request"),
        ("?version=two", 400, "invalid_request"),
        ("?version=1&alias=prod", 400, "invalid_request"),
    ],
)
@pytest.mark.parametrize("route", ["invoke", "async"])
def test_a_choice_that_is_not_there(two: Api, route: str, query: str, status: int, code_: str) -> None:
    refusal(two.post(f"/functions/hello/{route}{query}", {}), status, code_)


def test_a_session_stays_on_its_side(two: Api, worker: None) -> None:
    make(two, "prod", (1, 50), (2, 50))
    first = {name: invoke(two, "?alias=prod", **{"X-Nimbus-Session": name})["version"] for name in "abcdefgh"}
    assert set(first.values()) == {1, 2}
    for name, version in first.items():
        assert invoke(two, f"?alias=prod&session_key={name}")["version"] == version
    two.put(f"{A}/prod", {"routing_config": routing((1, 30), (2, 70))})
    now = {name: invoke(two, "?alias=prod", **{"X-Nimbus-Session": name})["version"] for name in first}
    assert all(now[name] == 2 for name, version in first.items() if version == 2)


def test_a_warm_call_asks_no_database(two: Api, worker: None, monkeypatch: pytest.MonkeyPatch) -> None:
    make(two, "prod", (1, 50), (2, 50))
    invoke(two, "?alias=prod")
    invoke(two, "?version=1")

    def refuse(*args: Any) -> None:
        raise AssertionError("the directory was asked to read")

    monkeypatch.setattr(directory, "look_up", refuse)
    monkeypatch.setattr(directory, "check_version", refuse)
    monkeypatch.setattr(directory, "MAX_AGE_SEC", 3600.0)
    for query in ("?alias=prod", "?version=1", "?alias=latest", ""):
        invoke(two, query)


def test_a_change_is_in_force_with_its_answer(two: Api, worker: None) -> None:
    make(two, "prod", (1, 100))
    for turn in range(6):
        version = turn % 2 + 1
        two.put(f"{A}/prod", {"routing_config": routing((version, 100))})
        assert invoke(two, "?alias=prod")["version"] == version


def test_a_deleted_version_is_forgotten(two: Api, worker: None) -> None:
    assert invoke(two, "?version=1")["version"] == 1
    assert two("DELETE", "/functions/hello/versions/1").status_code == 204
    refusal(two.post("/functions/hello/invoke?version=1", {}), 404, "version_not_found")


def test_an_older_version_has_its_own_time(two: Api) -> None:
    """The newest's shorter timeout must not end the wait for a version that may run longer."""
    from invocations.services import NewInvocation
    from nimbus_project.core.ids import new_id

    two.put("/functions/hello", {"timeout_sec": 1})
    make(two, "prod", (1, 100))
    live = directory.look_up("hello")
    for version, seconds in ((1, 30), (3, 1), (None, 1)):
        new = NewInvocation(function=live, event=b"{}", request_id="r", id=new_id(), version=version)
        assert new.timeout_sec == seconds
    directory.check_version(live, 2)
    assert live.timeout_of(2) == 30


def test_changes_are_in_the_audit_log(two: Api) -> None:
    from accounts.models import AuditEntry

    began = timezone.now()
    make(two)
    two.put(f"{A}/prod", {"routing_config": routing((2, 100))})
    two("DELETE", f"{A}/prod")
    entries = AuditEntry.objects.filter(object_type="alias", at__gte=began).order_by("at", "pk")
    assert [entry.action for entry in entries] == ["alias.create", "alias.update", "alias.delete"]
    assert entries[1].before == {"weights": routing((1, 100))["weights"]}
    assert entries[1].after == {"weights": routing((2, 100))["weights"]}
