"""Rust and C on the real platform: from source to answer, builds that fail, finished modules, what a module sees."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from wasmtime import wat2wasm

from nimbus_project.config import ROOT
from tests.acceptance.caller import Caller
from tests.platform import Platform, PlatformOptions
from tests.projects import as_archive, build_log, built, deploy, result, state
from tests.requirements import require
from tests.services import wait_until

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.parametrize(
        "platform",
        [
            PlatformOptions(driver="docker", images=("wasm", "builder-wasm")),
            PlatformOptions(driver="process", database="sqlite", rust=True),
        ],
        ids=["docker", "process"],
        indirect=True,
        scope="module",
    ),
]

RUST = """use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Order {
    count: u32,
}

fn main() {
    let order: Order = serde_json::from_reader(std::io::stdin()).expect("no order");
    eprintln!("counting {}", order.count);
    println!("{}", json!({"next": order.count + STEP, "version": std::env::var("NIMBUS_FUNCTION_VERSION").unwrap()}));
}
"""
PLAIN_RUST = """use std::io::Read;

fn main() {
    let mut event = String::new();
    std::io::stdin().read_to_string(&mut event).unwrap();
    let count: u32 = event.trim_start_matches("{\\"count\\":").trim_end_matches('}').trim().parse().expect("no order");
    eprintln!("counting {}", count);
    let version = std::env::var("NIMBUS_FUNCTION_VERSION").unwrap();
    println!("{{\\"next\\":{},\\"version\\":\\"{}\\"}}", count + STEP, version);
}
"""
"""The same without serde, which is in the builder's image only."""
C = """#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    int n = 0;
    if (scanf("{\\"n\\": %d}", &n) != 1) {
        fputs("no n\\n", stderr);
        exit(3);
    }
    fprintf(stderr, "doubling %d\\n", n);
    printf("%d", n * FACTOR);
    return 0;
}
"""
C_LIBRARY = """#include <stdint.h>
#include <stdlib.h>

void *alloc(size_t size) { return malloc(size); }

uint64_t handle(const char *event, size_t size) { return ((uint64_t)(uintptr_t)event << 32) | size; }
"""


def wasm(caller: Caller, name: str, **given: Any) -> dict[str, Any]:
    """The answer to a creation."""
    caller.http.delete(f"/functions/{name}")
    answer = caller.http.post("/functions", json={"name": name, "runtime": "wasm", "handler": "handler.main"} | given)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def has_serde(platform: Platform) -> bool:
    return platform.env["NIMBUS_SANDBOX_DRIVER"] == "docker"


def rust_built(caller: Caller, name: str) -> None:
    """Skips (or fails) the test where the worker has no compiler, by its own word."""
    wait_until(lambda: state(caller, name)["status"] != "creating", 240, f"the build of {name}")
    said = state(caller, name).get("status_message", "")
    require("rust", said if said.endswith("Or start Docker.") else None)
    built(caller, name)


def test_rust_from_source_to_answer(caller: Caller, platform: Platform) -> None:
    source = RUST if has_serde(platform) else PLAIN_RUST
    made = wasm(caller, "counter", code=source.replace("STEP", "1"))
    assert (made["status"], made["language"]) == ("creating", "rust")
    rust_built(caller, "counter")
    answer = caller.http.post("/functions/counter/invoke?logs=true", json={"count": 4}).json()
    assert (answer["status_code"], answer["body"]) == (200, {"next": 5, "version": "1"})
    assert "counting 4" in answer["logs"]
    failed = caller.invoke("counter", {"count": "four"})
    assert failed.status_code == 500
    assert failed.json()["error_type"] == "Trap"
    why = "invalid type: string" if has_serde(platform) else "InvalidDigit"
    assert re.match(rf"panicked at handler\.rs:\d+:\d+: no order: .*{why}", failed.json()["error"])


def test_c_from_source_to_answer(caller: Caller) -> None:
    made = wasm(caller, "double", code=C.replace("FACTOR", "2"))
    assert (made["status"], made["language"]) == ("creating", "c")
    built(caller, "double")
    answer = caller.http.post("/functions/double/invoke?logs=true", json={"n": 21}).json()
    assert (answer["status_code"], answer["body"]) == (200, 42)
    assert "doubling 21" in answer["logs"]
    failed = caller.invoke("double", {})
    assert (failed.status_code, failed.json()["error_type"]) == (500, "ProcessExited")
    assert "exit code 3" in failed.json()["error"] and "no n" in failed.json()["error"]


def test_a_library(caller: Caller) -> None:
    deploy(caller, "mirror", runtime="wasm", language="c", code=C_LIBRARY)
    for event in ({"a": [1, "ü"]}, "text", [None], 7):
        assert result(caller, "mirror", event) == event


def test_an_update_that_can_not_be_built_leaves_the_old_version_serving(caller: Caller) -> None:
    deploy(caller, "lasting", runtime="wasm", code=C.replace("FACTOR", "3"))
    update = caller.http.put("/functions/lasting", json={"code": C})
    assert (update.status_code, update.json()["status"]) == (200, "updating")
    assert result(caller, "lasting", {"n": 2}) == 6
    wait_until(lambda: state(caller, "lasting")["status"] != "updating", 120, "the build has ended")
    found = state(caller, "lasting")
    assert found["status"] == "active"
    assert "handler.c:12:22: error: " in found["status_message"] and "'FACTOR'" in found["status_message"]
    assert result(caller, "lasting", {"n": 2}) == 6
    caller.http.put("/functions/lasting", json={"code": C.replace("FACTOR", "5")})
    built(caller, "lasting")
    assert result(caller, "lasting", {"n": 2}) == 10


def test_projects_of_several_files(caller: Caller, platform: Platform) -> None:
    files = {
        "main.c": '#include "prices.h"\n#include <stdio.h>\nint main(void) { printf("%d", price(2)); return 0; }\n',
        "lib/prices.c": '#include "prices.h"\nint price(int n) { return 3 * n; }\n',
        "prices.h": "int price(int n);\n",
    }
    deploy(caller, "c-shop", runtime="wasm", archive=as_archive(files))
    assert result(caller, "c-shop") == 6
    dependencies, price = ('serde_json = "1"\n', "serde_json::json!(prices::of(2))")
    if not has_serde(platform):
        dependencies, price = ("", "prices::of(2)")
    files = {
        "Cargo.toml": f'[package]\nname = "shop"\nversion = "1.0.0"\n\n[dependencies]\n{dependencies}',
        "src/main.rs": f'mod prices;\n\nfn main() {{\n    println!("{{}}", {price});\n}}\n',
        "src/prices.rs": "pub fn of(n: u32) -> u32 {\n    3 * n\n}\n",
    }
    wasm(caller, "rust-shop", archive=as_archive(files))
    rust_built(caller, "rust-shop")
    assert result(caller, "rust-shop") == 6


def test_a_finished_module(caller: Caller) -> None:
    write = '(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))'
    data = r'(memory (export "memory") 1) (data (i32.const 0) "\08\00\00\00\02\00\00\00[]")'
    says = "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))"
    module = bytes(wat2wasm(f'(module {write} {data} (func (export "_start") {says}))'))
    wasm(caller, "finished", binary=base64.b64encode(module).decode())
    built(caller, "finished")
    assert result(caller, "finished") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(module)", "neither a main"),
        ('(module (import "env" "now" (func)) (func (export "_start")))', "imports what is not there: env.now"),
    ],
)
def test_a_module_that_is_no_function_is_failed_with_the_reason(caller: Caller, text: str, said: str) -> None:
    wasm(caller, "strange", binary=base64.b64encode(bytes(wat2wasm(text))).decode())
    wait_until(lambda: state(caller, "strange")["status"] == "failed", 60, "the build has ended")
    assert said in state(caller, "strange")["status_message"]
    assert caller.invoke("strange").json()["code"] == "function_not_active"
    assert caller.http.delete("/functions/strange").status_code == 204


def test_compiling_creates_nothing(caller: Caller) -> None:
    before = caller.http.get("/functions").json()["total"]
    answer = caller.http.post("/compile", json={"runtime": "wasm", "code": C.replace("FACTOR", "2")}).json()
    assert answer["success"] is True
    assert base64.b64decode(answer["binary"]).startswith(b"\0asm")
    wrong = caller.http.post("/compile", json={"runtime": "wasm", "language": "c", "code": "int main(void) { x; }"})
    assert (wrong.json()["success"], "handler.c:1:18" in wrong.json()["output"]) == (False, True)
    assert caller.http.get("/functions").json()["total"] == before
    # What was compiled so can be uploaded.
    wasm(caller, "uploaded", binary=answer["binary"])
    built(caller, "uploaded")
    assert result(caller, "uploaded", {"n": 4}) == 8


def test_the_same_source_is_built_once(caller: Caller) -> None:
    code = C.replace("FACTOR", "77")
    first = wasm(caller, "origin", code=code)
    built(caller, "origin")
    second = wasm(caller, "copy", code=code)
    assert (first["status"], second["status"]) == ("creating", "active")
    assert result(caller, "copy", {"n": 1}) == 77


def test_a_module_sees_its_own_tmp_and_no_more(caller: Caller, platform: Platform) -> None:
    """Two functions; neither finds the other's file, or anything of the sandbox's."""
    handlers = ROOT / "tests" / "handlers" / "c" / "misbehaves.c"
    for name in ("one", "two"):
        code = handlers.read_text() + f"/* {name} */\n"
        deploy(caller, name, runtime="wasm", language="c", code=code)
    assert [result(caller, "one", "keeps_in_tmp") for _ in range(3)] == [0, 1, 2]
    assert result(caller, "two", "keeps_in_tmp") == 0
    assert result(caller, "one", "looks_around") == [0, 0]


def test_what_a_machine_without_containers_lacks_is_named(caller: Caller, platform: Platform) -> None:
    if platform.env["NIMBUS_SANDBOX_DRIVER"] == "docker":
        return  # there it lacks nothing: the tests above
    wasm(caller, "lacking", code=RUST.replace("STEP", "1"))
    wait_until(lambda: state(caller, "lacking")["status"] == "failed", 60, "the build has ended")
    found = state(caller, "lacking")
    assert "tart Docker." in found["status_message"], build_log(caller, found)
