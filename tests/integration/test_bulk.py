"""Bulk changes, clone, pin: each function on its own account."""

from __future__ import annotations

import pytest

from functions import bulk, services
from functions.bulk import MAX_ITEMS
from functions.models import Function, Secret
from tests.integration.plane import Api, make_function, refusal

pytestmark = pytest.mark.usefixtures("transactional_db")

MISSING = "5f0c1c1e-0000-7000-8000-000000000000"


@pytest.fixture
def three(api: Api) -> list[str]:
    return [api.create(name)["id"] for name in ("one", "two", "three")]


def test_bulk_delete_takes_ids_and_names_and_says_what_failed(api: Api, three: list[str]) -> None:
    answer = api.post("/functions/bulk-delete", {"ids": [three[0], "two", MISSING, "no such name"]})
    assert answer.status_code == 200
    body = answer.json()
    assert body["success"] == [three[0], "two"]
    assert [one["id"] for one in body["failed"]] == [MISSING, "no such name"]
    assert all(one["error"] for one in body["failed"])
    assert list(Function.objects.values_list("name", flat=True)) == ["three"]


def test_a_function_named_twice_is_done_once(api: Api, three: list[str]) -> None:
    body = api.post("/functions/bulk-update", {"ids": ["one", "one", three[0]], "status": "offline"}).json()
    assert body == {"success": ["one"], "failed": []}


def test_bulk_update_sets_status_and_tags(api: Api, three: list[str]) -> None:
    body = api.post("/functions/bulk-update", {"ids": three, "status": "offline", "tags": ["a", "b"]}).json()
    assert body == {"success": three, "failed": []}
    for function_id in three:
        shown = api.get(f"/functions/{function_id}").json()
        assert (shown["status"], shown["tags"], shown["version"]) == ("offline", ["a", "b"], 1)
    api.post("/functions/bulk-update", {"ids": three[:1], "status": "active"})
    assert api.get("/functions/one").json()["status"] == "active"
    assert api.get("/functions/one").json()["tags"] == ["a", "b"]


@pytest.fixture
def broken_delete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleting `two` changes the database, then breaks."""
    whole = services.function_delete

    def delete(reference: str) -> None:
        name = Function.objects.get(pk=reference).name
        whole(reference)
        if name == "two":
            raise RuntimeError("secret detail")

    monkeypatch.setattr(services, "function_delete", delete)


@pytest.mark.usefixtures("broken_delete")
def test_one_that_breaks_is_as_it_was_and_harms_no_other(api: Api, three: list[str]) -> None:
    answer = api.post("/functions/bulk-delete", {"ids": three})
    assert answer.json()["success"] == [three[0], three[2]]
    assert [one["id"] for one in answer.json()["failed"]] == [three[1]]
    assert "secret detail" not in answer.text
    assert list(Function.objects.values_list("name", flat=True)) == ["two"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ids": []},
        {"ids": "one"},
        {"ids": [1]},
        {"ids": [None]},
        {"ids": ["x" * 65]},
        {"ids": ["a\0b"]},
        {"ids": [f"f{n}" for n in range(MAX_ITEMS + 1)]},
    ],
)
@pytest.mark.parametrize("route", ["bulk-delete", "bulk-update"])
def test_bad_lists_are_refused(api: Api, route: str, body: dict[str, object]) -> None:
    refusal(api.post(f"/functions/{route}", body | {"status": "offline"}), 400, "invalid_request")


@pytest.mark.parametrize("change", [{}, {"status": "failed"}, {"status": "creating"}, {"tags": ["a,b"]}])
def test_bad_changes_are_refused(api: Api, three: list[str], change: dict[str, object]) -> None:
    refusal(api.post("/functions/bulk-update", {"ids": three} | change), 400, "invalid_request")


def test_as_many_as_allowed() -> None:
    make_function("one")
    result = bulk.bulk_delete(["one", *(f"f{n}" for n in range(MAX_ITEMS - 1))])
    assert (result.success, len(result.failed)) == (["one"], MAX_ITEMS - 1)


def test_clone_has_code_and_configuration_and_no_secrets(api: Api) -> None:
    original = api.create(
        "original",
        description="what it does",
        tags=["a", "b"],
        pinned=True,
        memory_mb=512,
        timeout_sec=7,
        max_retries=5,
        max_concurrency=3,
        env_vars={"A": "1"},
        network="egress",
    )
    api.put("/functions/original/secrets/TOKEN", {"value": "hidden"})
    api.put("/functions/original", {"code": "def main(event):\n    return 2\n"})
    answer = api.post("/functions/original/clone", {"name": "copy"})
    assert answer.status_code == 201, answer.text
    copy, original = answer.json(), api.get("/functions/original").json()
    own = {"id", "name", "pinned", "version", "created_at", "updated_at", "last_deployed_at"}
    assert {k: v for k, v in copy.items() if k not in own} == {k: v for k, v in original.items() if k not in own}
    assert (copy["name"], copy["version"], copy["pinned"], original["version"]) == ("copy", 1, False, 2)
    assert not Secret.objects.filter(function_id=copy["id"]).exists()


def test_clone_is_refused_for_a_taken_or_impossible_name(api: Api) -> None:
    api.create("original")
    refusal(api.post("/functions/original/clone", {"name": "original"}), 409, "function_exists")
    for body in ({}, {"name": ""}, {"name": "1x"}, {"name": "a b"}, {"name": 7}):
        refusal(api.post("/functions/original/clone", body), 400)
    refusal(api.post("/functions/nobody/clone", {"name": "copy"}), 404, "function_not_found")
    assert Function.objects.count() == 1


def test_pin_turns_round_or_does_as_told(api: Api) -> None:
    api.create("one")
    assert api.post("/functions/one/pin").json()["pinned"] is True
    assert api.post("/functions/one/pin").json()["pinned"] is False
    for pinned in (True, True, False, False):
        assert api.post("/functions/one/pin", {"pinned": pinned}).json()["pinned"] is pinned
    refusal(api.post("/functions/one/pin", {"pinned": "perhaps"}), 400)
    assert api.get("/functions/one").json()["version"] == 1
