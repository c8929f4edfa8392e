"""The WebAssembly builder, in a container and as a child process: Rust, C, finished modules; what it makes and says."""

from __future__ import annotations

import io
import re
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from wasmtime import wat2wasm

from nimbus_project.config import Config, config
from tests.integration.builders import BUILD_SEC, FIRST_C, build, open_toolchains, watched_toolchains
from tests.requirements import require
from workers.drivers import process_builds, process_wasm
from workers.toolchain import BuildError, BuildJob, BuildResult, Toolchains

RUST = b'use serde_json::json;\n\nfn main() {\n    println!("{}", json!({"n": 1}));\n}\n'
PLAIN_RUST = b'fn main() {\n    println!("1");\n}\n'
C = b'#include <stdio.h>\n\nint main(void)\n{\n    puts("1");\n    return 0;\n}\n'
C_LIBRARY = b"""#include <stdint.h>
#include <stdlib.h>
void *alloc(size_t size) { return malloc(size); }
uint64_t handle(const char *ptr, size_t len) { return ((uint64_t)(uintptr_t)ptr << 32) | len; }
"""
NO_SERDE = "serde and serde_json are in the builder's image only. Start Docker."
EMPTY = '(module (memory (export "memory") 1) (func (export "_start")))'


@pytest.fixture(scope="module", params=["process", "docker"])
def toolchains(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Toolchains]:
    config = Config(var_dir=tmp_path_factory.mktemp("var"))
    with pytest.MonkeyPatch.context() as patch, watched_toolchains(request.param, config, "wasm") as made:
        if request.param == "process":
            patch.setenv("PATH", request.getfixturevalue("rust_path"))
        yield made


def job(language: str = "", handler: str = "handler.main", **sources: bytes) -> BuildJob:
    """Names as keywords: ``__`` is a slash, the last ``_`` the dot."""
    files = {".".join(name.replace("__", "/").rsplit("_", 1)): data for name, data in sources.items()}
    return BuildJob(toolchain="wasm", files=files, settings={"NIMBUS_HANDLER": handler, "NIMBUS_LANGUAGE": language})


def contents(result: BuildResult) -> dict[str, bytes]:
    assert result.artifact is not None, result
    with tarfile.open(fileobj=io.BytesIO(result.artifact), mode="r:gz") as tar:
        assert {member.name for member in tar} == {"module.wasm", "module.cwasm"}
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def made(toolchains: Toolchains, wanted: BuildJob) -> dict[str, bytes]:
    """The artifact's files. Skips (or fails) the test where this machine has no compiler for it."""
    result, lines = build(toolchains, wanted)
    _require_compiler(lines)
    assert result.artifact is not None, lines
    return contents(result)


def _require_compiler(lines: list[str]) -> None:
    lacking = next((line for line in lines if line.endswith("Or start Docker.")), None)
    require("c" if "C compiler" in (lacking or "") else "rust", lacking)


def refused(toolchains: Toolchains, wanted: BuildJob) -> list[str]:
    """What the compiler said of sources that can't be built."""
    result, lines = build(toolchains, wanted)
    _require_compiler(lines)
    assert result == BuildResult(artifact=None)
    assert not any("/work" in line or "/tmp" in line or "/src/" in line for line in lines), lines
    return lines


@pytest.mark.parametrize("source", [RUST, PLAIN_RUST, C, C_LIBRARY], ids=["serde", "rust", "c", "library"])
def test_the_same_source_makes_the_same_bytes(toolchains: Toolchains, source: bytes) -> None:
    if source is RUST and isinstance(toolchains, process_builds.ProcessToolchains):
        made(toolchains, job("rust", handler_rs=PLAIN_RUST))
        assert refused(toolchains, job("rust", handler_rs=RUST)) == [NO_SERDE]
        return
    wanted = job("rust", handler_rs=source) if b"fn main" in source else job("c", handler_c=source)
    first = made(toolchains, wanted)
    assert first["module.wasm"].startswith(b"\0asm")
    assert build(toolchains, wanted)[0] == build(toolchains, wanted)[0]


@pytest.mark.parametrize(
    ("language", "source", "said"),
    [
        ("rust", b"fn main() {\n    let x: u32 = missing();\n}\n",
         [r"error.*cannot find function `missing`", r"--> handler\.rs:2:18"]),
        ("rust", b"fn main() {\n", [r"unclosed delimiter", r"--> handler\.rs:1:1\d"]),
        ("rust", b"fn main() {\n    let s: String = 1;\n}\n", [r"mismatched types", r"handler\.rs:2:21"]),
        ("rust", b"use regex::Regex;\nfn main() {}\n", [r"regex", r"handler\.rs:1:5"]),
        ("rust", b'#[link(name = "m2")]\nextern "C" { fn far(); }\nfn main() { unsafe { far() } }\n',
         [r"unable to find library -lm2"]),
        ("rust", b"fn other() {}\n", [r"no function: write either fn main\(\).*fn alloc.*fn handle"]),
        ("c", b"int main(void)\n{\n    return missing;\n}\n", [r"handler\.c:3:12: error: .*'missing'"]),
        ("c", b"#include <nothing.h>\nint main(void) { return 0; }\n", [r"handler\.c:1:10: fatal error: 'nothing\.h'"]),
        ("c", b"int main(void) { return missing(); }\n", [r"handler\.c:1:25: error: .*'missing'"]),
        ("c", b"int missing(void);\nint main(void) { return missing(); }\n",
         [r"error: handler\.o: undefined symbol: missing"]),
        ("c", b"int other(void) { return 0; }\n", [r"no function: write either int main\(void\).*alloc.*handle"]),
    ],
    ids=lambda value: value[:40] if isinstance(value, bytes) else "",
)  # fmt: skip
def test_a_wrong_source_is_told_in_the_compilers_words(
    toolchains: Toolchains, language: str, source: bytes, said: list[str]
) -> None:
    name = {"rust": "handler_rs", "c": "handler_c"}[language]
    lines = refused(toolchains, job(language, **{name: source}))
    for pattern in said:
        assert any(re.search(pattern, line) for line in lines), lines


def test_a_crate_of_several_files(toolchains: Toolchains) -> None:
    files = {
        "src/main.rs": b'mod deep;\nmod prices;\nfn main() { println!("{}", prices::of(deep::down::two())); }\n',
        "src/prices.rs": b"pub fn of(n: u32) -> u32 {\n    n * 3\n}\n",
        "src/deep/mod.rs": b"pub mod down;\n",
        "src/deep/down.rs": b"pub fn two() -> u32 {\n    2\n}\n",
        "Cargo.toml": b'[package]\nname = "shop"\nversion = "1.0.0"\nedition = "2021"\n\n[dependencies]\nserde = "1"\n',
    }
    settings = {"NIMBUS_HANDLER": "handler.main", "NIMBUS_LANGUAGE": "rust"}
    made(toolchains, BuildJob(toolchain="wasm", files=files, settings=settings))
    files["src/prices.rs"] = b"pub fn of(n: u32) -> u32 {\n    wrong\n}\n"
    lines = refused(toolchains, BuildJob(toolchain="wasm", files=files, settings=settings))
    assert any(re.search(r"--> src/prices\.rs:2:5", line) for line in lines), lines


def test_a_program_of_several_c_files(toolchains: Toolchains) -> None:
    files = {
        "handler.c": b'#include "inc/prices.h"\n#include <math.h>\nint main(void) { return (int)floor(price(2)); }\n',
        "lib/prices.c": b'#include "inc/prices.h"\ndouble price(int n) { return 3.5 * n; }\n',
        "inc/prices.h": b"double price(int n);\n",
        "README.md": b"not a source",
    }
    settings = {"NIMBUS_HANDLER": "handler.main", "NIMBUS_LANGUAGE": "c"}
    made(toolchains, BuildJob(toolchain="wasm", files=files, settings=settings))
    files["lib/prices.c"] = b"double price(int n) { return wrong; }\n"
    lines = refused(toolchains, BuildJob(toolchain="wasm", files=files, settings=settings))
    assert any(re.search(r"lib/prices\.c:1:30: error: .*'wrong'", line) for line in lines), lines


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (b'[dependencies]\nregex = "1"\nserde = "1"\n', "asks for regex; there are serde and serde_json only"),
        (b"[dependencies\n", "Cargo.toml can't be read"),
    ],
)
def test_what_a_crate_asks_for_and_is_not_there(toolchains: Toolchains, manifest: bytes, said: str) -> None:
    lines = refused(toolchains, job("rust", handler_rs=RUST, Cargo_toml=manifest))
    assert said in lines[0]


def test_an_unclear_root_is_asked_about(toolchains: Toolchains) -> None:
    lines = refused(toolchains, job("rust", handler="x.main", a_rs=PLAIN_RUST, b_rs=PLAIN_RUST))
    assert "name one of them x.rs, src/main.rs, main.rs, src/lib.rs" in lines[0]


def test_nothing_to_compile(toolchains: Toolchains) -> None:
    lines = refused(toolchains, job(README_md=b"hello"))
    assert "nothing to compile" in lines[0] and "README.md" in lines[0]


def test_a_finished_module(toolchains: Toolchains) -> None:
    module = bytes(wat2wasm(EMPTY))
    for wanted in (job(module_wasm=module), job("rust", README_md=b"hello", deep__made_wasm=module)):
        result, lines = build(toolchains, wanted)
        assert lines == []
        assert contents(result)["module.wasm"] == module


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ('(module (memory (export "memory") 1))', r"neither a main.*_start.*alloc.*handle.*It exports: memory"),
        ("(module)", "It exports: nothing"),
        ('(module (import "env" "now" (func)) (func (export "_start")))', r"imports what is not there: env\.now"),
        ('(module (import "wasi_snapshot_preview1" "fd_paint" (func)) (func (export "_start")))', "fd_paint"),
        ('(module (import "wasi_snapshot_preview1" "fd_close" (func)) (func (export "_start")))', "fd_close"),
        ('(module (func (export "_start") (param i32)))', r"_start must be \(\) -> nothing, but is \(i32\)"),
        ('(module (memory (export "memory") 1) (func (export "alloc") (param i64) (result i32) (i32.const 0)) '
         '(func (export "handle") (param i32 i32) (result i64) (i64.const 0)))', r"alloc must be alloc\(size: i32\)"),
        ('(module (func (export "alloc") (param i32) (result i32) (i32.const 0)) '
         '(func (export "handle") (param i32 i32) (result i64) (i64.const 0)))', "does not export its memory"),
        (b"\0asm\1\0\0\0" + b"garbage", "The module is not valid"),
        (b"\0asm\1\0\0\0", "It exports: nothing"),
        (b"#!/bin/sh\n", "The module is not valid"),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_a_module_that_is_no_function(toolchains: Toolchains, module: str | bytes, said: str) -> None:
    data = bytes(wat2wasm(module)) if isinstance(module, str) else module
    result, lines = build(toolchains, job(module_wasm=data))
    assert result == BuildResult(artifact=None)
    assert len(lines) == 1 and re.search(said, lines[0]), lines


def deep_rust(functions: int) -> bytes:
    """A source that takes the compiler long."""
    body = "\n".join(
        f"#[inline(never)] pub fn f{n}(x: u64) -> u64 {{ if x > {n} {{ f{n // 2}(x - 1) * {n} }} else {{ x }} }}"
        for n in range(functions)
    )
    return f'{body}\nfn main() {{ println!("{{}}", f{functions - 1}(std::env::args().count() as u64)) }}\n'.encode()


def deep_c(functions: int) -> bytes:
    body = "\n".join(
        f"__attribute__((noinline)) long f{n}(long x) {{ return x > {n} ? f{n // 2}(x - 1) * {n} : x; }}"
        for n in range(functions)
    )
    return f"{body}\nint main(int n, char **v) {{ return (int)f{functions - 1}(n); }}\n".encode()


@pytest.mark.parametrize("language", ["rust", "c"])
def test_a_build_ends_at_its_deadline(toolchains: Toolchains, language: str) -> None:
    small = job("rust", handler_rs=PLAIN_RUST) if language == "rust" else job("c", handler_c=C)
    made(toolchains, small)
    large = job("rust", handler_rs=deep_rust(9_000)) if language == "rust" else job("c", handler_c=deep_c(40_000))
    began = time.monotonic()
    result, _ = build(toolchains, large, 1.5)
    assert result == BuildResult(artifact=None, error="The build took too long and was stopped.")
    assert time.monotonic() - began < 20


def test_memory_is_bounded(tmp_path: Path) -> None:
    toolchains = open_toolchains("docker", Config(var_dir=tmp_path, build_memory_mb=256), "wasm")
    result, lines = build(toolchains, job("rust", handler_rs=deep_rust(30_000)))
    toolchains.close()
    assert result.artifact is None
    assert result.error == "The build used more than 256 MB." or "out of memory" in lines[-1], (result, lines)


def test_disk_is_bounded(tmp_path: Path) -> None:
    toolchains = open_toolchains("docker", Config(var_dir=tmp_path, build_disk_mb=64), "wasm")
    large = b"int main(void) { return 0; }\n"
    zeros = b'.section .data.x,"",@\n.globl x\nx: .space 90000000, 1\n.size x, 90000000\n'
    result, lines = build(toolchains, job("c", handler_c=large + b"__asm__(" + as_text(zeros) + b");\n"))
    toolchains.close()
    assert result.artifact is None
    assert any("No space left" in line or "no space" in line.lower() for line in [result.error, *lines]), lines


def as_text(data: bytes) -> bytes:
    """As a C string."""
    return b'"' + data.replace(b'"', b'\\"').replace(b"\n", b"\\n") + b'"'


# -- without containers: what has to be installed is named


def test_wasmtime_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_wasm, "find_spec", lambda name: None)
    with pytest.raises(BuildError, match="pip install wasmtime"):
        build(process_builds.ProcessToolchains(Config(var_dir=tmp_path)), job("c", handler_c=C))


def without_compilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Toolchains:
    """The builder on a machine where nothing but Python is on the PATH."""
    wasm_command = process_wasm.wasm_command

    def poorer(folder: Path) -> process_wasm.Command:
        command, settings = wasm_command(folder)
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(script)
        return command, settings | {"PATH": str(tmp_path), "PYTHONPATH": str(site)}

    monkeypatch.setitem(process_builds.PROGRAMS, "wasm", lambda folder: process_builds.Program(*poorer(folder)))
    return process_builds.ProcessToolchains(Config(var_dir=tmp_path))


def test_a_c_compiler_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hides_zig = (
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'ziglang' else find(name, *rest)\n"
    )
    result, lines = build(without_compilers(tmp_path, monkeypatch, hides_zig), job("c", handler_c=C))
    assert result == BuildResult(artifact=None)
    assert len(lines) == 1 and "pip install ziglang" in lines[0] and "wasi-libc" in lines[0]


def test_a_rust_compiler_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, lines = build(without_compilers(tmp_path, monkeypatch, ""), job("rust", handler_rs=RUST))
    assert result == BuildResult(artifact=None)
    assert len(lines) == 1 and "rustup target add wasm32-wasip1" in lines[0]


def test_the_first_c_build_says_that_it_makes_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is there, and only where zig makes one."""
    monkeypatch.setattr(process_wasm, "zig_cache", lambda: tmp_path)
    monkeypatch.setattr(process_wasm, "find_spec", lambda name: name)
    monkeypatch.setattr(process_wasm, "_SYSTEM_HEADERS", ())
    assert process_wasm.first_c_note(["src/handler.c", "handler.h"]).startswith(FIRST_C)
    assert process_wasm.first_c_note(["handler.rs"]) == ""
    monkeypatch.setattr(process_wasm, "_SYSTEM_HEADERS", (str(tmp_path),))
    monkeypatch.setattr(process_wasm.shutil, "which", lambda name: name)
    assert process_wasm.first_c_note(["handler.c"]) == ""
    monkeypatch.setattr(process_wasm, "_SYSTEM_HEADERS", ())
    (tmp_path / "o" / "digest").mkdir(parents=True)
    (tmp_path / "o" / "digest" / "libc.a").touch()
    assert process_wasm.first_c_note(["handler.c"]) == ""


def test_a_c_build_leaves_the_library_for_the_next() -> None:
    """Where zig keeps it is zig's business: a version that keeps it elsewhere would be told of at each build."""
    toolchains = process_builds.ProcessToolchains(config())
    told: list[str] = []
    made(toolchains, job("c", handler_c=C))
    toolchains.build(job("c", handler_c=C), told.append, time.monotonic() + BUILD_SEC)
    assert told == []
