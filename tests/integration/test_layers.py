"""Layers through the API: versions, compatibility, order, and who holds on to whom."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from accounts.models import AuditEntry
from functions.layers import MAX_OF_FUNCTION
from functions.models import Layer, LayerVersion
from nimbus_project.core.ids import new_id
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, in_threads, refusal
from tests.projects import zip_of

PYTHON = zip_of({"python/a.py": "A = 1\n"})
NODE = zip_of({"nodejs/node_modules/a/index.js": "module.exports = 1"})
BOTH = zip_of({"python/a.py": "A = 1\n", "nodejs/node_modules/a/index.js": "", "elsewhere": "left out"})


@pytest.fixture(autouse=True)
def _no_layers(api: Api) -> Iterator[None]:
    yield
    for name in list(Layer.objects.values_list("name", flat=True)):
        for function in api.get("/functions?limit=100").json()["functions"]:
            api("DELETE", f"/functions/{function['id']}")
        assert api("DELETE", f"/layers/{name}").status_code == 204


def as_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def make(
    api: Api, name: str = "shared", *contents: bytes, runtimes: tuple[str, ...] = ("python3.11",)
) -> dict[str, Any]:
    answer = api.post("/layers", {"name": name, "compatible_runtimes": list(runtimes)})
    assert answer.status_code == 201, answer.text
    for content in contents:
        sent = api.post(f"/layers/{name}/versions", {"content": as_text(content)})
        assert sent.status_code == 201, sent.text
    shape: dict[str, Any] = api.get(f"/layers/{name}").json()
    return shape


def use(api: Api, *layers: str, function: str = "hello") -> Any:
    return api.put(f"/functions/{function}/layers", {"layers": list(layers)})


def test_a_layer_and_its_versions(api: Api) -> None:
    made = make(api, "shared", PYTHON, zip_of({"python/a.py": "A = 2\n"}))
    assert made["latest_version"] == 2
    assert [row["version"] for row in made["versions"]] == [2, 1]
    assert len({row["sha256"] for row in made["versions"]}) == 2
    assert "description" not in made
    assert api.get(f"/layers/{made['id']}").json() == made
    assert api.get("/layers/shared/versions").json() == {"versions": made["versions"], "total": 2}
    listed = api.get("/layers").json()
    assert (listed["layers"], listed["total"], listed["offset"], listed["limit"]) == ([made], 1, 0, 20)


def test_version_1_may_come_with_the_layer(api: Api) -> None:
    body = {"name": "shared", "compatible_runtimes": ["python3.11"], "content": as_text(PYTHON), "description": "mine"}
    made = api.post("/layers", body).json()
    assert (made["latest_version"], made["description"]) == (1, "mine")


def test_content_may_come_as_a_form(api: Api) -> None:
    make(api)
    sent = api.post("/layers/shared/versions", files={"content": ("x.zip", PYTHON, "application/zip")})
    assert sent.status_code == 201, sent.text
    assert sent.json()["version"] == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"compatible_runtimes": ["python3.11"]}, "name"),
        ({"name": "x"}, "compatible_runtimes"),
        ({"name": "x", "compatible_runtimes": []}, "compatible_runtimes"),
        ({"name": "x", "compatible_runtimes": ["go1.24"]}, "compatible_runtimes"),
        ({"name": "1x", "compatible_runtimes": ["python3.11"]}, "name"),
        ({"name": "x", "compatible_runtimes": ["python3.11"], "colour": 1}, "colour"),
        ({"name": "x", "compatible_runtimes": ["python3.11"], "content": "not base64!"}, "content"),
        ({"name": "x", "compatible_runtimes": ["python3.11"], "content": as_text(b"no zip")}, "content"),
        ({"name": "x", "compatible_runtimes": ["python3.11"], "content": as_text(NODE)}, "content"),
        ({"name": "x", "compatible_runtimes": ["python3.11", "nodejs20"], "content": as_text(PYTHON)}, "content"),
        ({"name": "x", "compatible_runtimes": ["python3.11"], "content": as_text(zip_of({"../x": ""}))}, "content"),
    ],
)
def test_wrong_layers(api: Api, body: dict[str, Any], field: str) -> None:
    assert field in str(refusal(api.post("/layers", body), 400)["details"])
    assert not Layer.objects.exists()


def test_names_are_unique(api: Api) -> None:
    make(api)
    refusal(api.post("/layers", {"name": "shared", "compatible_runtimes": ["nodejs20"]}), 409, "layer_exists")


def test_what_is_not_there(api: Api) -> None:
    for reference in ("nothing", str(new_id()), "a%00b"):
        refusal(api.get(f"/layers/{reference}"), 404, "layer_not_found")
        refusal(api("DELETE", f"/layers/{reference}"), 404, "layer_not_found")
        refusal(api.post(f"/layers/{reference}/versions", {"content": as_text(PYTHON)}), 404, "layer_not_found")
    api.create()
    refusal(use(api, "nothing"), 404, "layer_not_found")


def test_setting_layers_makes_a_version_and_keeps_their_order(api: Api) -> None:
    api.create()
    make(api, "one", PYTHON, BOTH)
    second = make(api, "two", PYTHON)
    assert api.get("/functions/hello/layers").json() == {"layers": [], "total": 0, "version": 1}
    answer = use(api, second["id"], "one:1").json()
    assert (answer["version"], answer["total"]) == (2, 2)
    assert [(row["name"], row["version"]) for row in answer["layers"]] == [("two", 1), ("one", 1)]
    assert use(api, "two", "one").json()["layers"][1]["version"] == 2
    # The same again is no change.
    assert use(api, "two", "one").json()["version"] == 3
    assert api.get("/functions/hello").json()["version"] == 3
    assert use(api).json() == {"layers": [], "total": 0, "version": 4}


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        (["node-only"], "is for nodejs20; hello runs on python3.11"),
        (["shared", "shared:1"], "more than once"),
        (["shared:2"], "has no version 2"),
        (["shared:0"], "form name:version"),
        (["shared:x"], "form name:version"),
        (["empty"], "has no version yet"),
        (["shared"] * (MAX_OF_FUNCTION + 1), str(MAX_OF_FUNCTION)),
    ],
)
def test_layers_that_do_not_fit(api: Api, layers: list[str], said: str) -> None:
    api.create()
    make(api, "shared", PYTHON)
    make(api, "node-only", NODE, runtimes=("nodejs20",))
    make(api, "empty")
    body = refusal(use(api, *layers), 400)
    assert said in f"{body['error']} {body['details']}"
    assert api.get("/functions/hello").json()["version"] == 1


def test_a_layer_in_use_stays_until_its_last_user_goes(api: Api) -> None:
    api.create()
    make(api, "shared", PYTHON)
    use(api, "shared")
    use(api)  # an older version still has it
    body = refusal(api("DELETE", "/layers/shared"), 409, "layer_in_use")
    assert "hello" in body["error"]
    assert LayerVersion.objects.count() == 1
    assert api("DELETE", "/functions/hello/versions/2").status_code == 204
    assert api("DELETE", "/layers/shared").status_code == 204
    assert not LayerVersion.objects.exists()


def test_layers_stay_with_code_that_changes(api: Api) -> None:
    api.create()
    make(api, "shared", PYTHON)
    use(api, "shared")
    api.put("/functions/hello", {"code": "def main(event):\n    return 2\n"})
    assert [row["name"] for row in api.get("/functions/hello/layers").json()["layers"]] == ["shared"]


def test_versions_published_at_once_have_numbers_of_their_own(api: Api) -> None:
    make(api)
    contents = [as_text(zip_of({"python/a.py": f"A = {n}\n"})) for n in range(6)]
    answers = in_threads(6, lambda n: api.post("/layers/shared/versions", {"content": contents[n]}).json()["version"])
    assert sorted(answers) == [1, 2, 3, 4, 5, 6]  # type: ignore[type-var]


def test_every_change_leaves_a_trace(api: Api) -> None:
    before = AuditEntry.objects.filter(object_type="layer").count()
    make(api, "shared", PYTHON)
    api("DELETE", "/layers/shared")
    actions = AuditEntry.objects.filter(object_type="layer").order_by("pk").values_list("action", flat=True)
    assert list(actions)[before:] == ["layer.create", "layer.publish", "layer.delete"]


def test_whose_layers_somebody_sees(locked_entrance: Api) -> None:
    ann = As(locked_entrance, make_key("ann", "developer"))
    ben = As(locked_entrance, make_key("ben", "developer"))
    seen = As(locked_entrance, make_key("vic", "viewer"))
    try:
        body = {"compatible_runtimes": ["python3.11"], "content": as_text(PYTHON)}
        assert ann.post("/layers", body | {"name": "own"}).status_code == 201
        assert ann.post("/layers", body | {"name": "for-all", "shared": True}).status_code == 201
        ben.create("bens")
        assert [row["name"] for row in ben.get("/layers").json()["layers"]] == ["for-all"]
        refusal(ben.get("/layers/own"), 404, "layer_not_found")
        refusal(ben("DELETE", "/layers/own"), 404, "layer_not_found")
        refusal(ben("PUT", "/functions/bens/layers", json={"layers": ["own"]}), 404, "layer_not_found")
        assert ben("PUT", "/functions/bens/layers", json={"layers": ["for-all"]}).status_code == 200
        refusal(ann("PUT", "/functions/bens/layers", json={"layers": []}), 404, "function_not_found")
        refusal(seen("DELETE", "/layers/for-all"), 403)
        # Somebody else's users hold a shared layer as well.
        refusal(ann("DELETE", "/layers/for-all"), 409, "layer_in_use")
    finally:
        ben("DELETE", "/functions/bens")
        Layer.objects.all().delete()
