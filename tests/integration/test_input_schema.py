"""input_schema: a part of the version; events that don't fit never reach the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from functions import input_schema
from tests.integration.plane import ECHO, Api, refusal

pytestmark = pytest.mark.django_db(transaction=True)

SCHEMA = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string", "maxLength": 10}, "sizes": {"type": "array", "items": {"minimum": 1}}},
}
LOOSE = {"type": "object"}


@pytest.fixture
def strict(api: Api) -> Api:
    api.create(input_schema=SCHEMA)
    return api


def test_it_is_shown_and_a_part_of_the_version(strict: Api) -> None:
    assert strict.get("/functions/hello").json()["input_schema"] == SCHEMA
    # The same once more is no change.
    assert strict.put("/functions/hello", {"input_schema": SCHEMA}).json()["version"] == 1
    changed = strict.put("/functions/hello", {"input_schema": LOOSE}).json()
    assert (changed["version"], changed["input_schema"]) == (2, LOOSE)
    assert strict.put("/functions/hello", {"timeout_sec": 9}).json()["input_schema"] == LOOSE
    for number, expected in ((1, SCHEMA), (2, LOOSE), (3, LOOSE)):
        assert strict.get(f"/functions/hello/versions/{number}").json()["input_schema"] == expected
    diff = strict.get("/functions/hello/versions/2/diff").json()
    assert diff["changed"] == ["input_schema"] and '-    "required"' in diff["diff"]
    assert strict.post("/functions/hello/versions/1/rollback").json()["input_schema"] == SCHEMA


@pytest.mark.parametrize("none", [None, {}])
def test_it_can_be_taken_away(strict: Api, none: Any) -> None:
    answer = strict.put("/functions/hello", {"input_schema": none})
    assert answer.json()["version"] == 2 and "input_schema" not in answer.json()
    assert strict.post("/functions/hello/async?delay_sec=3600", {}).status_code == 202
    refusal(strict.post("/functions/hello/async?delay_sec=3600&version=1", {}), 400, "invalid_event")


@pytest.mark.parametrize("route", ["invoke", "async"])
def test_an_event_that_does_not_fit(strict: Api, route: str) -> None:
    body = refusal(strict.post(f"/functions/hello/{route}", {"name": 5, "sizes": [3, 0]}), 400, "invalid_event")
    assert set(body["details"]) == {"name", "sizes.1"}
    assert "name: 5 is not of type 'string'" in body["error"]
    assert list(refusal(strict.post(f"/functions/hello/{route}", {}), 400)["details"]) == ["body"]
    assert list(refusal(strict.post(f"/functions/hello/{route}", []), 400)["details"]) == ["body"]
    # Without a body the event is {}.
    refusal(strict.post(f"/functions/hello/{route}"), 400, "invalid_event")
    assert strict.get("/functions/hello/invocations").json()["total"] == 0


def test_one_that_fits_runs(strict: Api, worker: None) -> None:
    answer = strict.post("/functions/hello/invoke", {"name": "Ada", "more": 1})
    assert answer.status_code == 200 and answer.json()["body"]["event"] == {"name": "Ada", "more": 1}
    assert strict.post("/functions/hello/async", {"name": "Ada"}).status_code == 202


def test_a_large_event_is_held_against_it_too(strict: Api) -> None:
    fits = {"name": "Ada", "sizes": [1] * 20_000}
    assert len(orjson.dumps(fits)) > input_schema.INLINE_BYTES
    assert strict.post("/functions/hello/async?delay_sec=3600", fits).status_code == 202
    body = refusal(strict.post("/functions/hello/async", fits | {"name": 1}), 400, "invalid_event")
    assert list(body["details"]) == ["name"]
    too_much = {"name": "Ada", "sizes": [1] * 500_000}
    assert "too large" in refusal(strict.post("/functions/hello/async", too_much), 400, "invalid_event")["error"]


def test_a_small_event_that_takes_long_is_held_against_it_too(api: Api) -> None:
    api.create(input_schema={"allOf": [{"items": {"enum": [[n] for n in range(3)]}}] * 3})
    api.post("/functions/hello/async?delay_sec=3600", [[1]] * 10)
    assert api.post("/functions/hello/async?delay_sec=3600", [[1]] * 10).status_code == 202
    refusal(api.post("/functions/hello/async", [[1]] * 9 + [[3]]), 400, "invalid_event")


def test_it_is_the_schema_of_the_version_that_runs(strict: Api) -> None:
    strict.put("/functions/hello", {"input_schema": LOOSE})
    sides = [{"version": 1, "weight": 100}]
    strict.post("/functions/hello/aliases", {"name": "prod", "routing_config": {"weights": sides}})
    for _ in range(2):
        assert strict.post("/functions/hello/async?delay_sec=3600", {}).status_code == 202
        assert strict.post("/functions/hello/async?delay_sec=3600&alias=latest", {}).status_code == 202
        refusal(strict.post("/functions/hello/async?alias=prod", {}), 400, "invalid_event")
        refusal(strict.post("/functions/hello/async?version=1", {}), 400, "invalid_event")
        refusal(strict.post("/functions/hello/async", []), 400, "invalid_event")


def test_without_one_nothing_is_asked(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    api.create()

    def never(*_: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr("functions.input_schema.admit", never)
    assert api.post("/functions/hello/async?delay_sec=3600", {}).status_code == 202


@pytest.mark.parametrize(
    ("schema", "field"),
    [
        (5, "input_schema"),
        ([], "input_schema"),
        ({"type": "frob"}, "input_schema.type"),
        ({"properties": {"a": {"$ref": "http://169.254.169.254/"}}}, "input_schema.properties.a.$ref"),
        ({"pattern": "(?<=x)"}, "input_schema.pattern"),
        ({"description": "x\0"}, "input_schema.description"),
        ({"description": "x" * 17_000}, "input_schema"),
        ({"$schema": "https://example.com/my-own"}, "input_schema.$schema"),
    ],
)
def test_one_that_can_not_be_is_refused_by_place(api: Api, schema: Any, field: str) -> None:
    values = {"name": "new", "runtime": "python3.11", "handler": "handler.main", "code": ECHO}
    body = refusal(api.post("/functions", values | {"input_schema": schema}), 400, "invalid_request")
    assert list(body["details"]) == [field]
    api.create("there")
    refusal(api.put("/functions/there", {"input_schema": schema}), 400, "invalid_request")
    assert api.get("/functions/there").json()["version"] == 1


def _export(api: Api) -> None:
    archive = api.get("/functions/hello/export").content
    assert api("DELETE", "/functions/hello").status_code == 204
    sent = api.post("/functions/import", content=archive, headers={"content-type": "application/zip"})
    assert [one["name"] for one in sent.json()["imported"]] == ["hello"], sent.text


def _clone(api: Api) -> None:
    assert api.post("/functions/hello/clone", {"name": "again"}).status_code == 201
    api("DELETE", "/functions/hello")
    api.post("/functions/again/clone", {"name": "hello"})


def _publish(api: Api) -> None:
    assert api.post("/functions/hello/versions", {"description": "as it is"}).json()["input_schema"] == SCHEMA


@pytest.mark.parametrize("copy", [_export, _clone, _publish])
def test_copies_have_it(strict: Api, copy: Callable[[Api], None]) -> None:
    copy(strict)
    assert strict.get("/functions/hello").json()["input_schema"] == SCHEMA
    refusal(strict.post("/functions/hello/async", {}), 400, "invalid_event")


def test_numbers_come_back_as_they_were(api: Api) -> None:
    """A database that spells 1.0 as 1 must not make a new version of the same."""
    schema = {"minimum": 1.0, "maximum": 1e3, "multipleOf": 0.1, "const": 2**60, "enum": [-1.4e243, 1e-300, 2**64 - 1]}
    api.create(input_schema=schema)
    assert api.put("/functions/hello", {"input_schema": schema}).json()["version"] == 1
    assert api.get("/functions/hello").json()["input_schema"] == schema
    refusal(api.post("/functions/hello/async", {}), 400, "invalid_event")
    assert api.get("/audit?action=function.create").json()["audit"][0]["after"]["input_schema"] == schema
    assert api.get("/audit?format=csv").status_code == 200


def test_the_change_is_in_the_audit_log(strict: Api) -> None:
    strict.put("/functions/hello", {"input_schema": LOOSE})
    entry = strict.get("/audit?action=function.update").json()["audit"][0]
    assert entry["after"]["input_schema"] == LOOSE and entry["before"]["input_schema"]["required"] == ["name"]
