"""Export and import: what travels, what does not, what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions import manifest, services
from functions.models import Alias, Function, FunctionVersion
from tests.integration.plane import Api, refusal

pytestmark = pytest.mark.usefixtures("transactional_db")

ZIP = {"content-type": "application/zip"}
LIVE, NEXT = "def main(event):\n    return 1\n", "def main(event):\n    return 2\n"


def exported(api: Api, *ids: str) -> bytes:
    answer = api.post("/functions/export", {"ids": list(ids)} if ids else None)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    return answer.content


def imported(api: Api, data: bytes, on_conflict: str = "fail") -> dict[str, Any]:
    answer = api("POST", f"/functions/import?on_conflict={on_conflict}", content=data, headers=ZIP)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def manifest_of(data: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        content: dict[str, Any] = json.loads(archive.read("manifest.json"))
    return content


def zip_of(files: dict[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def entry(name: str = "hello", code: str = LIVE, **changes: Any) -> dict[str, Any]:
    version = {
        "number": 1,
        "handler": "handler.main",
        "memory_mb": 256,
        "timeout_sec": 30,
        "kind": "source",
        "file": f"code/{name}",
        "sha256": hashlib.sha256(code.encode()).hexdigest(),
    }
    version |= changes.pop("version", {})
    return {"name": name, "runtime": "python3.11", "versions": [version]} | changes


def bundle(*entries: Any, code: str = LIVE, **files: str) -> bytes:
    named = {f"code/{one['name']}": code for one in entries if isinstance(one, dict) and "name" in one}
    head = {"format": "nimbus-functions", "format_version": 1, "functions": list(entries)}
    return zip_of({"manifest.json": json.dumps(head), **named, **files})


@pytest.fixture
def rich(api: Api) -> dict[str, Any]:
    """Three versions, an alias that splits between the first and the last, a secret, an environment."""
    api.create("rich", code=LIVE, tags=["b", "a"], description="d", env_vars={"A": "1"}, max_retries=4, pinned=True)
    api.put("/functions/rich", {"memory_mb": 512})
    api.put("/functions/rich", {"code": NEXT, "network": "egress"})
    weights = [{"version": 1, "weight": 90}, {"version": 3, "weight": 10}]
    answer = api.post("/functions/rich/aliases", {"name": "prod", "routing_config": {"weights": weights}})
    assert answer.status_code == 201, answer.text
    assert api.put("/functions/rich/secrets/TOKEN", {"value": "hidden-value"}).status_code == 201
    shown: dict[str, Any] = api.get("/functions/rich").json()
    return shown


def test_there_and_back(api: Api, rich: dict[str, Any]) -> None:
    data = exported(api, "rich")
    assert b"hidden-value" not in data
    assert "hidden-value" not in str([zipfile.ZipFile(io.BytesIO(data)).read(n) for n in _names(data)])
    assert [v["number"] for v in manifest_of(data)["functions"][0]["versions"]] == [1, 3]
    api("DELETE", "/functions/rich")
    result = imported(api, data)
    assert (result["skipped"], result["failed"]) == ([], [])
    (one,) = result["imported"]
    assert (one["name"], one["version"]) == ("rich", 2)
    own = {"id", "version", "created_at", "updated_at", "last_deployed_at"}
    back = api.get("/functions/rich").json()
    assert {k: v for k, v in back.items() if k not in own} == {k: v for k, v in rich.items() if k not in own}
    weights = api.get("/functions/rich/aliases/prod").json()["routing_config"]["weights"]
    assert weights == [{"version": 1, "weight": 90}, {"version": 2, "weight": 10}]
    assert api.get("/functions/rich/versions/1").json()["code"] == LIVE
    assert api.get("/functions/rich/secrets").json()["secrets"] == []


def _names(data: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.namelist()


def test_the_same_functions_give_the_same_bytes(api: Api, rich: dict[str, Any]) -> None:
    assert exported(api, "rich") == exported(api, rich["id"], "rich") == api.get("/functions/rich/export").content


def test_all_that_there_are(api: Api) -> None:
    for name in ("b", "a", "c"):
        api.create(name)
    assert [one["name"] for one in manifest_of(exported(api))["functions"]] == ["a", "b", "c"]
    refusal(api.post("/functions/export", {"ids": ["a", "nobody"]}), 404, "function_not_found")
    refusal(api.post("/functions/export", {"ids": []}), 400)


def test_as_a_form(api: Api, rich: dict[str, Any]) -> None:
    data = exported(api, "rich")
    api("DELETE", "/functions/rich")
    answer = api("POST", "/functions/import", files={"file": ("rich.zip", data, "application/zip")})
    assert [one["name"] for one in answer.json()["imported"]] == ["rich"]


def test_a_taken_name_fails(api: Api, rich: dict[str, Any]) -> None:
    data = bundle(entry("rich"), entry("other"))
    result = imported(api, data)
    assert [one["name"] for one in result["imported"]] == ["other"]
    assert [one["name"] for one in result["failed"]] == ["rich"]
    assert api.get("/functions/rich").json() == rich


def test_a_taken_name_is_skipped(api: Api, rich: dict[str, Any]) -> None:
    result = imported(api, bundle(entry("rich")), "skip")
    assert ([one["name"] for one in result["skipped"]], result["imported"], result["failed"]) == (["rich"], [], [])
    assert api.get("/functions/rich").json() == rich


def test_a_taken_name_gives_another_one(api: Api) -> None:
    long = "x" * 64
    for name in ("rich", "rich-2", long):
        api.create(name)
    result = imported(api, bundle(entry("rich"), entry(long)), "rename")
    assert [(one["name"], one["renamed_from"]) for one in result["imported"]] == [
        ("rich-3", "rich"),
        ("x" * 62 + "-2", long),
    ]


def test_update_makes_versions_only_of_what_is_new(api: Api, rich: dict[str, Any]) -> None:
    data = exported(api, "rich")
    imported(api, data, "update")
    assert FunctionVersion.objects.count() == 3
    api.put("/functions/rich", {"code": "def main(event):\n    return 3\n", "tags": []})
    imported(api, data, "update")
    back = api.get("/functions/rich").json()
    assert (back["version"], back["code"], back["tags"], back["memory_mb"]) == (5, NEXT, ["b", "a"], 512)
    weights = api.get("/functions/rich/aliases/prod").json()["routing_config"]["weights"]
    assert weights == [{"version": 1, "weight": 90}, {"version": 5, "weight": 10}]
    assert [one["name"] for one in api.get("/functions/rich/secrets").json()["secrets"]] == ["TOKEN"]


def test_update_is_refused_for_another_runtime(api: Api, rich: dict[str, Any]) -> None:
    result = imported(api, bundle(entry("rich", runtime="nodejs20")), "update")
    assert [one["name"] for one in result["failed"]] == ["rich"]
    assert api.get("/functions/rich").json() == rich


def test_versions_of_equal_content_stay_apart_but_in_an_update(api: Api) -> None:
    same = entry()
    same["versions"] = [same["versions"][0] | {"number": number} for number in (4, 7)]
    weights = [{"version": 4, "weight": 30}, {"version": 7, "weight": 70}]
    same["aliases"] = [{"name": "prod", "routing_config": {"weights": weights}}]
    assert imported(api, bundle(same))["failed"] == []
    assert Alias.objects.get().weights == [{"version": 1, "weight": 30}, {"version": 2, "weight": 70}]
    assert imported(api, bundle(same), "update")["failed"] == []
    assert Alias.objects.get().weights == [{"version": 2, "weight": 100}]
    assert FunctionVersion.objects.count() == 2


def test_one_function_is_imported_whole_or_not_at_all(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = services.version_add

    def breaks(function: Function, *args: Any) -> FunctionVersion:
        made = whole(function, *args)
        if made.version == 2:
            raise RuntimeError("secret detail")
        return made

    monkeypatch.setattr(services, "version_add", breaks)
    two = entry("two")
    two["versions"].append(two["versions"][0] | {"number": 2, "memory_mb": 512})
    result = imported(api, bundle(two, entry("one")))
    assert [one["name"] for one in result["imported"]] == ["one"]
    assert [one["name"] for one in result["failed"]] == ["two"]
    assert "secret detail" not in str(result)
    assert list(Function.objects.values_list("name", flat=True)) == ["one"]


Change = Callable[[], bytes]

_BAD_ENTRIES: dict[str, Any] = {
    "not an object": 7,
    "no name": {"runtime": "python3.11"},
    "bad name": entry("hello") | {"name": "a b"},
    "bad runtime": entry(runtime="cobol"),
    "no versions": entry(versions=[]),
    "bad memory": entry(version={"memory_mb": 5}),
    "bad handler": entry(version={"handler": "no-dot"}),
    "reserved variable": entry(version={"env_vars": {"NIMBUS_X": "1"}}),
    "missing file": entry(version={"file": "code/elsewhere"}),
    "other bytes": entry(version={"sha256": "0" * 64}),
    "impossible kind": entry(version={"kind": "binary"}),
    "alias of nothing": entry(aliases=[{"name": "p", "routing_config": {"weights": [{"version": 9, "weight": 100}]}}]),
    "alias latest": entry(aliases=[{"name": "latest", "routing_config": {"weights": [{"version": 1, "weight": 100}]}}]),
    "weights of 90": entry(aliases=[{"name": "p", "routing_config": {"weights": [{"version": 1, "weight": 90}]}}]),
}


@pytest.mark.parametrize("bad", _BAD_ENTRIES.values(), ids=_BAD_ENTRIES.keys())
def test_a_bad_entry_harms_no_other(api: Api, bad: Any) -> None:
    result = imported(api, bundle(bad, entry("good")))
    assert [one["name"] for one in result["imported"]] == ["good"]
    assert len(result["failed"]) == 1 and result["failed"][0]["error"]
    assert list(Function.objects.values_list("name", flat=True)) == ["good"]


def _with_entry(info: zipfile.ZipInfo, content: bytes = b"x") -> bytes:
    buffer = io.BytesIO(bundle(entry()))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(info, content)
    return buffer.getvalue()


def _link() -> bytes:
    info = zipfile.ZipInfo("code/link")
    info.external_attr = 0o120777 << 16
    return _with_entry(info, b"/etc/passwd")


def _bomb() -> bytes:
    return zip_of({"manifest.json": json.dumps({}), **{f"code/{n}": b"\0" * (30 << 20) for n in range(9)}})


def _head(**changes: Any) -> bytes:
    head = {"format": "nimbus-functions", "format_version": 1, "functions": [entry()]} | changes
    return zip_of({"manifest.json": json.dumps(head), "code/hello": LIVE})


_HOSTILE: dict[str, Change] = {
    "nothing": lambda: b"",
    "no zip": lambda: b"PK\x03\x04 and nothing more",
    "cut": lambda: bundle(entry())[:-30],
    "no manifest": lambda: zip_of({"a": "b"}),
    "manifest no JSON": lambda: zip_of({"manifest.json": "{"}),
    "manifest a list": lambda: zip_of({"manifest.json": "[]"}),
    "another format": lambda: _head(format="other"),
    "another version": lambda: _head(format_version=2),
    "no functions": lambda: _head(functions=[]),
    "functions no list": lambda: _head(functions={"a": 1}),
    "too many functions": lambda: _head(functions=[{}] * (manifest.MAX_FUNCTIONS + 1)),
    "absolute": lambda: _with_entry(zipfile.ZipInfo("/etc/passwd")),
    "upwards": lambda: _with_entry(zipfile.ZipInfo("code/../../x")),
    "backslash": lambda: _with_entry(zipfile.ZipInfo("code\\x")),
    "link": _link,
    "huge name": lambda: _with_entry(zipfile.ZipInfo("x" * 60_000)),
    "too many files": lambda: zip_of({"manifest.json": "{}", **{str(n): b"" for n in range(10_001)}}),
    "far too many files": lambda: zip_of({"manifest.json": "{}", **{str(n): b"" for n in range(20_001)}}),
    "bomb": _bomb,
}


@pytest.mark.parametrize("make", _HOSTILE.values(), ids=_HOSTILE.keys())
def test_hostile_archives_are_refused(api: Api, make: Change) -> None:
    answer = api("POST", "/functions/import", content=make(), headers=ZIP)
    refusal(answer, 400)
    assert not Function.objects.exists()


def test_other_bodies_are_refused(api: Api) -> None:
    refusal(api.post("/functions/import", {"file": "x"}), 415)
    refusal(api("POST", "/functions/import", files={"other": b"x"}), 400)
    refusal(api("POST", "/functions/import?on_conflict=perhaps", content=bundle(entry()), headers=ZIP), 400)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_refused_and_never_an_error_of_ours(api: Api, data: st.DataObject) -> None:
    whole = bytearray(bundle(entry("fuzz")))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    answer: httpx.Response = api("POST", "/functions/import?on_conflict=update", content=bytes(whole), headers=ZIP)
    assert answer.status_code in (200, 400), answer.text
    assert "Something went wrong" not in answer.text


_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
_CODE = _TEXT.map(lambda text: f"def main(event):\n    return {text!r}\n")
_ENV = st.dictionaries(st.from_regex(r"\A[A-MO-Z_][A-Z0-9_]{0,8}\Z"), _TEXT, max_size=3)
_VERSIONS = st.lists(
    st.fixed_dictionaries(
        {
            "code": _CODE,
            "memory_mb": st.integers(128, 3072),
            "timeout_sec": st.integers(1, 300),
            "env_vars": _ENV,
            "network": st.sampled_from(["none", "egress"]),
        }
    ),
    min_size=1,
    max_size=4,
)
_SETTINGS = st.fixed_dictionaries(
    {
        "description": _TEXT.map(str.strip),
        "tags": st.lists(st.from_regex(r"\A[a-z]{1,8}\Z"), max_size=4, unique=True),
        "pinned": st.booleans(),
        "max_concurrency": st.integers(0, 10_000),
        "max_retries": st.integers(0, 10),
        "max_event_age_sec": st.integers(60, 600_000),
    }
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(versions=_VERSIONS, rest=_SETTINGS, share=st.integers(0, 100), pick=st.integers(0, 3))
def test_round_trip(api: Api, versions: list[dict[str, Any]], rest: dict[str, Any], share: int, pick: int) -> None:
    Function.objects.all().delete()
    first, *later = versions
    function = services.function_create(name="trip", runtime="python3.11", handler="handler.main", **first | rest)
    for version in later:
        services.function_update("trip", **version)
    function.refresh_from_db()
    old, newest = min(pick + 1, function.last_number), function.last_number
    weights = [{"version": old, "weight": 100}]
    if old != newest:
        weights = [{"version": old, "weight": share}, {"version": newest, "weight": 100 - share}]
    api.post("/functions/trip/aliases", {"name": "prod", "routing_config": {"weights": weights}})
    once = exported(api, "trip")
    api("DELETE", "/functions/trip")
    assert imported(api, once)["failed"] == []
    twice = exported(api, "trip")
    assert _renumbered(once) == _renumbered(twice)


def _renumbered(data: bytes) -> dict[str, Any]:
    """The entry, its version numbers counted from 1, which an import may change; with the files' content."""
    (function,) = manifest_of(data)["functions"]
    numbers = {version["number"]: place for place, version in enumerate(function["versions"], 1)}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for version in function["versions"]:
            version["number"] = numbers[version["number"]]
            version["file"] = archive.read(version["file"])
    for alias in function["aliases"]:
        for side in alias["routing_config"]["weights"]:
            side["version"] = numbers[side["version"]]
    result: dict[str, Any] = function
    return result
