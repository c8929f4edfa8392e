"""Archives that mean harm: refused with a reason, and nothing of them stays behind."""

from __future__ import annotations

import base64
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from functions import archives
from functions.models import Artifact, BuildTask, Function, FunctionVersion, Package
from functions.packages import MAX_BINARY_BYTES
from functions.runtimes import RUNTIMES
from nimbus_project.config import config
from tests.integration.plane import Api, refusal
from tests.projects import zip_of

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")

HANDLER = "def main(event):\n    return 1\n"


def packed(*entries: tuple[str | zipfile.ZipInfo, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (("handler.py", HANDLER), *entries):
            archive.writestr(name, content)
    return buffer.getvalue()


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def bomb() -> bytes:
    """262 MB of nothing in a quarter of one."""
    return packed(*((f"{n}.bin", bytes(64 << 20)) for n in range(4)))


def liar() -> bytes:
    """Its directory says that a file is short; it is not."""
    content = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = content.compress(bytes(8 << 20)) + content.flush()
    head = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 0, zlib.crc32(b""), len(data), 10, 1, 0) + b"a"
    directory = struct.pack(
        "<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 8, 0, 0, zlib.crc32(b""), len(data), 10, 1, 0, 0, 0, 0, 0, 0
    )
    directory += b"a"
    start = len(head) + len(data)
    return head + data + directory + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(directory), start, 0)


def encrypted() -> bytes:
    data = bytearray(packed())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    return bytes(data)


def too_many() -> bytes:
    return packed(*((f"{n}", "") for n in range(archives.MAX_FILES)))


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "bomb": (bomb, "unpacks to more than"),
    "lies about sizes": (liar, "can be read|lies about the size"),
    "absolute": (lambda: packed(("/etc/passwd", "x")), "reaches outside"),
    "upwards": (lambda: packed(("../x", "x")), "reaches outside"),
    "upwards inside": (lambda: packed(("a/../../x", "x")), "reaches outside"),
    "backslashes": (lambda: packed(("..\\x", "x")), "unusable file name|reaches outside"),
    "link": (lambda: packed((entry("link", stat.S_IFLNK | 0o777), "/etc/passwd")), "link or special file"),
    "pipe": (lambda: packed((entry("pipe", stat.S_IFIFO | 0o600), "")), "link or special file"),
    "device": (lambda: packed((entry("null", stat.S_IFCHR | 0o600), "")), "link or special file"),
    "too many files": (too_many, "entries; at most"),
    "encrypted": (encrypted, "is encrypted"),
    "the same name twice": (lambda: packed(("handler.py", "again")), "same file twice"),
    "the same name twice, differently": (lambda: packed(("./handler.py", "again")), "same file twice"),
    "a file that is a folder too": (
        lambda: packed(("a", "x"), ("b/c", ""), ("a/b", "y")),
        "both as a file and as a folder",
    ),
    "a name too long for a disk": (lambda: packed(("é" * 128 + "/x", "x")), "no file system takes"),
    "the folder itself": (lambda: packed((".", "x")), "unusable file name"),
    "control characters": (lambda: packed(("a\nb", "x")), "unusable file name"),
    "empty": (lambda: b"PK\5\6" + bytes(18), "has no files"),
    "no zip": (lambda: b"hello" * 100, "can be read"),
    "cut short": (lambda: packed(("b", "x" * 5000))[:-30], "can be read"),
    "requirements with an address": (
        lambda: packed(("requirements.txt", "x @ https://elsewhere.example/x.whl\n")),
        "is an address",
    ),
    "requirements with an index": (
        lambda: packed(("requirements.txt", "--index-url https://elsewhere.example\nx\n")),
        "set up by the operator",
    ),
}

OF_PYTHON = [kind for kind in HOSTILE if kind.startswith("requirements")]
"""Those that mean harm to pip only."""


def stored() -> set[Path]:
    """Files of uploads and artifacts."""
    return {path for path in (config().var_dir / "files").rglob("*") if path.is_file()}


def rows() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (Function, FunctionVersion, Package, Artifact, BuildTask))


def send(
    api: Api, data: bytes, name: str = "hostile", runtime: str = "python3.11", field: str = "archive"
) -> httpx.Response:
    body = {"name": name, "runtime": runtime, "handler": "handler.main", field: base64.b64encode(data).decode()}
    return api.post("/functions", body)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(api: Api, kind: str) -> None:
    make, said = HOSTILE[kind]
    before = (rows(), stored())
    for runtime in RUNTIMES if kind not in OF_PYTHON else ["python3.11"]:
        body = refusal(send(api, make(), runtime=runtime), 400, "invalid_request")
        assert any(part in body["error"] for part in said.split("|")), body["error"]
        assert "archive" in body["details"]
    assert (rows(), stored()) == before
    assert api.get("/functions/hostile").status_code == 404


@pytest.mark.parametrize("kind", ["bomb", "upwards", "link"])
def test_a_hostile_update_changes_nothing(api: Api, kind: str) -> None:
    api.create("steady")
    before = (rows(), stored(), api.get("/functions/steady").json())
    data = base64.b64encode(HOSTILE[kind][0]()).decode()
    refusal(api.put("/functions/steady", {"archive": data}), 400, "invalid_request")
    assert (rows(), stored(), api.get("/functions/steady").json()) == before


def test_more_than_50_mib_are_refused_by_their_length(api: Api) -> None:
    before = (rows(), stored())
    answer = send(api, bytes(MAX_BINARY_BYTES + 6))
    body = refusal(answer, 400, "invalid_request")
    assert "50 MiB" in body["error"]
    assert (rows(), stored()) == before


def test_an_honest_archive_is_live_at_once(api: Api) -> None:
    answer = send(api, packed(("inner/__init__.py", ""), ("inner/data.json", "{}")), "honest")
    assert answer.status_code == 201, answer.text
    assert answer.json()["status"] == "active"


def test_lists_that_need_a_builder_wait_for_it(api: Api) -> None:
    answer = send(api, packed(("requirements.txt", "nothing-like-it==1\n")), "waits")
    made = answer.json()
    assert made["status"] == "creating"
    task = api.get(f"/tasks/{made['task_id']}").json()
    assert task["task"]["status"] in ("pending", "running")


@pytest.mark.parametrize(
    ("runtime", "data", "said"),
    [
        ("go1.24", b"#!/bin/sh\necho hello\n", "64-bit Linux program"),
        ("go1.24", b"MZ" + bytes(500), "GOOS=linux"),
        ("go1.24", b"\x7fELF\x02\x01\x01" + bytes(100), "not a program"),
        ("go1.24", b"\0asm\1\0\0\0", "64-bit Linux program"),
        ("wasm", b"\x7fELF\x02\x01\x01" + bytes(100), "WebAssembly module"),
        ("wasm", b"\0asm\x0d\0\1\0", "WebAssembly module, version 1"),
        ("wasm", b"\0as", "WebAssembly module"),
        ("python3.11", b"\0asm\1\0\0\0", "takes code or archive, no binary"),
        ("nodejs20", b"\x7fELF", "takes code or archive, no binary"),
        ("wasm", b"\0asm\1\0\0\0" + bytes(MAX_BINARY_BYTES), "50 MiB"),
        ("go1.24", b"\x7fELF" + bytes(MAX_BINARY_BYTES), "50 MiB"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_wrong_binary_is_refused_and_leaves_nothing(api: Api, runtime: str, data: bytes, said: str) -> None:
    before = (rows(), stored())
    body = refusal(send(api, data, runtime=runtime, field="binary"), 400, "invalid_request")
    assert said in body["details"]["binary"][0]
    assert (rows(), stored()) == before


def test_of_code_binary_and_archive_there_is_one(api: Api) -> None:
    before = (rows(), stored())
    body = {"name": "both", "runtime": "wasm", "handler": "handler.main", "code": "x", "binary": "AGFzbQEAAAA="}
    refusal(api.post("/functions", body), 400, "invalid_request")
    refusal(send(api, b"", field="binary"), 400, "invalid_request")
    refusal(api.post("/functions", body | {"code": None, "binary": "not base64!"}), 400, "invalid_request")
    assert (rows(), stored()) == before


# -- what the handler names


def project(name: str, content: str = HANDLER) -> bytes:
    return zip_of({"notes.txt": "", name: content})


ELSEWHERE = {
    "python3.11": (project("app.py"), "no file handler.py in the archive", "Python files in it: app.py."),
    "nodejs20": (project("lib/handler.mjs"), "no file handler.js or handler.mjs", "lib/handler.mjs is there: zip what"),
}
THERE = {
    "python3.11": (project("handler.py"), project("./handler.py")),
    "nodejs20": tuple(project(f"handler.{suffix}", "") for suffix in ("js", "mjs", "cjs")),
}


@pytest.mark.parametrize("runtime", ELSEWHERE)
def test_an_archive_without_the_handlers_file_is_refused_and_leaves_nothing(api: Api, runtime: str) -> None:
    data, *said = ELSEWHERE[runtime]
    before = (rows(), stored())
    body = refusal(send(api, data, runtime=runtime), 400, "invalid_request")
    assert all(part in body["details"]["handler"][0] for part in said), body
    assert (rows(), stored()) == before
    for number, good in enumerate(THERE[runtime]):
        assert send(api, good, f"good-{number}", runtime).json()["status"] == "active"


@pytest.mark.parametrize("runtime", ELSEWHERE)
def test_an_update_to_one_changes_nothing_and_so_does_its_handler_alone(api: Api, runtime: str) -> None:
    assert send(api, THERE[runtime][0], "steady", runtime).status_code == 201
    before = (rows(), stored(), api.get("/functions/steady").json())
    as_text = base64.b64encode(ELSEWHERE[runtime][0]).decode()
    for change in ({"archive": as_text}, {"handler": "app.main"}, {"handler": "handler.main", "archive": as_text}):
        body = refusal(api.put("/functions/steady", change), 400, "invalid_request")
        assert "in the archive" in body["details"]["handler"][0]
    assert (rows(), stored(), api.get("/functions/steady").json()) == before
    assert api.put("/functions/steady", {"handler": "handler.other"}).json()["version"] == 2


def test_a_project_with_lists_is_held_against_its_own_files(api: Api) -> None:
    """A dependency is never where a handler is looked for."""
    before = (rows(), stored())
    data = zip_of({"requirements.txt": "flask\n", "wsgi.py": ""})
    body = refusal(send(api, data), 400, "invalid_request")
    assert "Python files in it: wsgi.py" in body["details"]["handler"][0]
    assert (rows(), stored()) == before


@pytest.mark.parametrize(
    ("source", "said", "in_source"),
    [
        ("def main(event)\n    return 1\n", "handler.py, line 1: expected ':'", True),
        (
            "def mian(event):\n    return 1\n",
            "handler.py has no main, which the handler handler.main names. It has: mian.",
            False,
        ),
    ],
)
def test_python_that_can_not_be_loaded_is_refused_with_its_place(
    api: Api, source: str, said: str, in_source: bool
) -> None:
    api.create("steady")
    before = (rows(), stored(), api.get("/functions/steady").json())
    body = {"name": "new", "runtime": "python3.11", "handler": "handler.main", "code": source}
    as_text = base64.b64encode(project("handler.py", source)).decode()
    for field, answer in (
        ("code", api.post("/functions", body)),
        ("archive", send(api, project("handler.py", source))),
        ("code", api.put("/functions/steady", {"code": source})),
        ("archive", api.put("/functions/steady", {"archive": as_text})),
    ):
        details = refusal(answer, 400, "invalid_request")["details"]
        assert said in details[field if in_source else "handler"][0]
    assert (rows(), stored(), api.get("/functions/steady").json()) == before


def test_lists_are_found_by_names_that_begin_with_a_dot(api: Api) -> None:
    made = send(api, zip_of({"./handler.py": HANDLER, "./requirements.txt": "nothing-like-it==2\n"}), "dotted")
    assert made.json()["status"] == "creating"


def test_an_import_is_held_to_the_same(api: Api) -> None:
    send(api, THERE["python3.11"][0], "travels")
    exported = io.BytesIO(api.get("/functions/travels/export").content)
    with zipfile.ZipFile(exported) as whole:
        manifest = whole.read("manifest.json").replace(b"handler.main", b"elsewhere.main")
        others = {name: whole.read(name) for name in whole.namelist() if name != "manifest.json"}
    answer = api(
        "POST",
        "/functions/import?on_conflict=rename",
        content=zip_of({"manifest.json": manifest, **others}),
        headers={"content-type": "application/zip"},
    ).json()
    assert answer["imported"] == [] and "no file elsewhere.py in the archive" in answer["failed"][0]["error"]
