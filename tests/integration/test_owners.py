"""Nothing of another owner is read, called, changed or guessed, through any route."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, refusal
from tests.integration.test_permissions import METHODS, routes

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

SECRET_WORD = "xyzzy"
BELOW = tuple(f"/api/v1/{kind}/nothing" for kind in ("functions", "invocations", "workflows", "executions"))
WAIT = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}}}


class Two:
    """Ann has a function, an invocation, an alias, a workflow that runs; Ben has a key. Both are developers."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.admin = As(api, make_key("root", "admin"))
        self.ann = As(api, make_key("ann", "developer"))
        self.ben = As(api, make_key("ben", "developer"))
        self.function = self.ann.create(SECRET_WORD, description=SECRET_WORD, tags=[SECRET_WORD])
        weights = {"routing_config": {"weights": [{"version": 1, "weight": 100}]}}
        assert self.ann.post(f"/functions/{SECRET_WORD}/aliases", {"name": "prod", **weights}).status_code == 201
        # Not due while the test lasts: a worker of an earlier test may still be there.
        sent = self.ann.post(f"/functions/{SECRET_WORD}/async?delay_sec=3600", {SECRET_WORD: 1})
        assert sent.status_code == 202
        self.invocation = sent.json()
        made = self.ann.post("/workflows", {"name": SECRET_WORD, "description": SECRET_WORD, "definition": WAIT})
        assert made.status_code == 201
        self.workflow = made.json()
        begun = self.ann.post(f"/workflows/{SECRET_WORD}/executions", {"name": SECRET_WORD, "input": SECRET_WORD})
        assert begun.status_code == 202
        self.execution = begun.json()

    def references(self, path: str) -> list[tuple[str, str]]:
        """What refers to Ann's, and what to nothing."""
        ids = {
            "functions": [self.function["id"], SECRET_WORD],
            "invocations": [self.invocation["invocation_id"], self.invocation["request_id"]],
            "workflows": [self.workflow["id"], SECRET_WORD],
            "executions": [self.execution["id"]],
        }
        made_up = ("01900000-0000-7000-8000-000000000000", "01900000-0000-7000-8000-000000000001")
        theirs = ids.get(path.removeprefix("/api/v1/").partition("/")[0], [])
        return [(one, "plugh" if one == SECRET_WORD else made_up[at]) for at, one in enumerate(theirs)]


@pytest.fixture
def two(locked_entrance: Api) -> Two:
    return Two(locked_entrance)


def _without_ids(text: str, *references: str) -> str:
    text = re.sub(r'"request_id":\s*"[^"]*"', '"request_id":""', text)
    for reference in references:
        text = text.replace(reference, "<it>")
    return text


def test_every_route_answers_as_for_what_does_not_exist(two: Two) -> None:
    """Each address below one of these, each method, with the other's id and name and with made-up ones."""
    different = []
    tried = 0
    for name, path, _ in routes():
        pairs = two.references(path) if path.startswith(BELOW) else []
        for method in METHODS:
            for theirs, missing in pairs:
                there, gone = (_ask(two.ben, method, path, reference) for reference in (theirs, missing))
                tried += 1
                same = there.status_code == gone.status_code
                if not same or _without_ids(there.text, theirs) != _without_ids(gone.text, missing):
                    different.append((name, method, there.text, gone.text))
    assert different == []
    assert tried > 100
    assert two.ann.get(f"/functions/{SECRET_WORD}").json()["version"] == 1
    assert two.ann.get(f"/functions/{SECRET_WORD}").json()["status"] == "active"
    assert two.ann.get(f"/invocations/{two.invocation['invocation_id']}").json()["status"] == "pending"
    assert two.ann.get(f"/workflows/{SECRET_WORD}").json() == two.workflow
    assert two.ann.get(f"/executions/{two.execution['id']}").json()["status"] in ("pending", "running")


def _ask(who: As, method: str, path: str, reference: str) -> Any:
    body: dict[str, Any] = {"name": "new"}
    if "/functions/" in path:
        body |= {"value": "x", "routing_config": {"weights": [{"version": 1, "weight": 100}]}}
    elif "/executions/" in path:
        body = {}
    address = path.replace("/nothing", f"/{reference}", 1)
    return who(method, address, **({"json": body} if method != "GET" else {}))


@pytest.mark.parametrize("key_of", ["developer", "viewer", "invoker"])
def test_no_list_shows_it(two: Two, key_of: str) -> None:
    other = As(two.api, make_key(f"the-{key_of}", key_of))
    for _, path, _ in routes():
        if "nothing" in path or not path.startswith("/api/v1/"):
            continue
        assert SECRET_WORD not in other.get(path).text, path
    for query in (f"name={SECRET_WORD}", f"tags={SECRET_WORD}", "include=code", "runtime=python3.11"):
        answer = other.get(f"/functions?{query}")
        assert answer.status_code == 403 or answer.json()["total"] == 0
    answer = other.get(f"/invocations?function_id={two.function['id']}")
    assert answer.status_code == 403 or answer.json()["total"] == 0


def test_filters_by_the_others_name_and_by_none_are_alike(two: Two) -> None:
    theirs = two.ben.get(f"/invocations?function_id={SECRET_WORD}")
    refusal(theirs, 404, "function_not_found")
    missing = two.ben.get("/invocations?function_id=plugh")
    assert _without_ids(theirs.text) == _without_ids(missing.text)


def test_bulk_work_passes_it_by(two: Two) -> None:
    for path, more in (("bulk-delete", {}), ("bulk-update", {"status": "offline"})):
        answer = two.ben.post(f"/functions/{path}", {"ids": [SECRET_WORD, "plugh"], **more})
        body = answer.json()
        assert body["success"] == []
        theirs, missing = (row["error"] for row in body["failed"])
        assert theirs == missing
    assert two.ann.get(f"/functions/{SECRET_WORD}").json()["status"] == "active"


def test_the_owner_and_an_admin_see_it(two: Two) -> None:
    for who in (two.ann, two.admin):
        assert who.get(f"/functions/{SECRET_WORD}").status_code == 200
        assert who.get("/functions").json()["total"] == 1
        assert who.get("/invocations").json()["total"] == 1
        assert who.get(f"/invocations/{two.invocation['invocation_id']}").status_code == 200


def test_sharing_shows_it_and_only_its_owner_ends_that(two: Two) -> None:
    assert two.ann("PATCH", f"/functions/{SECRET_WORD}", json={"shared": True}).status_code == 200
    assert two.ben.get(f"/functions/{SECRET_WORD}").status_code == 200
    assert two.ben.get("/invocations").json()["total"] == 1
    assert two.ben.post(f"/functions/{SECRET_WORD}/async", {}).status_code == 202
    assert two.ben("PATCH", f"/functions/{SECRET_WORD}", json={"description": "b"}).status_code == 200
    refusal(two.ben("PATCH", f"/functions/{SECRET_WORD}", json={"shared": False}), 403)
    assert two.ann("PATCH", f"/functions/{SECRET_WORD}", json={"shared": False}).status_code == 200
    refusal(two.ben.post(f"/functions/{SECRET_WORD}/async", {}), 404, "function_not_found")
    refusal(two.ben.get(f"/functions/{SECRET_WORD}"), 404)
    assert two.ben.get("/invocations").json()["total"] == 0


def test_a_warm_directory_answers_nobody_else(two: Two) -> None:
    """The entry that an owner's call left in memory must not serve another's."""
    assert two.ann.post(f"/functions/{SECRET_WORD}/async", {}).status_code == 202
    refusal(two.ben.post(f"/functions/{SECRET_WORD}/async", {}), 404, "function_not_found")
    refusal(two.ben.post(f"/functions/{two.function['id']}/invoke", {}), 404, "function_not_found")


def test_a_function_named_like_anothers_id(two: Two) -> None:
    """Names may look like ids: each owner gets their own, whichever was asked for first."""
    from functions.models import Function

    mine = two.ben.create("mine")
    Function.objects.filter(pk=mine["id"]).update(name=two.function["id"])
    for _ in range(2):
        assert two.ben.get(f"/functions/{two.function['id']}").json()["id"] == mine["id"]
        assert two.ann.get(f"/functions/{two.function['id']}").json()["id"] == two.function["id"]
        assert two.ben.post(f"/functions/{two.function['id']}/async", {}).status_code == 202
        assert two.ann.post(f"/functions/{two.function['id']}/async", {}).status_code == 202
    assert two.ben.get("/invocations").json()["total"] == 2


def test_a_taken_name_says_no_more_than_that(two: Two) -> None:
    values = {"name": SECRET_WORD, "runtime": "python3.11", "handler": "handler.main", "code": "main = 1"}
    foreign = two.ben.post("/functions", values)
    own = two.ann.post("/functions", values)
    refusal(foreign, 409, "function_exists")
    assert _without_ids(foreign.text) == _without_ids(own.text)
    assert two.function["id"] not in foreign.text and "ann" not in foreign.text


def test_history_outlives_the_function_for_its_owner_alone(two: Two) -> None:
    assert two.ann("DELETE", f"/functions/{SECRET_WORD}").status_code == 204
    path = f"/invocations/{two.invocation['invocation_id']}"
    assert two.ann.get(path).status_code == 200
    refusal(two.ben.get(path), 404, "invocation_not_found")


def test_an_invoker_reads_the_answers_of_its_own_calls_only(two: Two) -> None:
    assert two.ann("PATCH", f"/functions/{SECRET_WORD}", json={"shared": True}).status_code == 200
    caller = As(two.api, make_key("caller", "invoker"))
    mine = caller.post(f"/functions/{SECRET_WORD}/async", {}).json()
    assert caller.get(f"/invocations/{mine['invocation_id']}").status_code == 200
    refusal(caller.get(f"/invocations/{two.invocation['invocation_id']}"), 404, "invocation_not_found")
    refusal(caller.get(f"/functions/{SECRET_WORD}"), 403)
    refusal(caller.get("/invocations"), 403)
