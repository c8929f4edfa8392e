"""Each runtime beside Python: how long a build takes, the first call in a prewarmed sandbox, warm calls."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.bench.figures import Figure
from tests.bench.load import quantile
from tests.bench.stack import Stack
from tests.services import wait_until

PYTHON = 'def main(event):\n    return {"message": "Hello " + event.get("name", "World")}\n'
NODE = "exports.main = (event) => ({ message: 'Hello ' + (event.name ?? 'World') });\n"
GO = """package main

type Event struct {
\tName string `json:"name"`
}

func Handler(event Event) (map[string]string, error) {
\treturn map[string]string{"message": "Hello " + event.Name}, nil
}
"""
RUST = """use serde_json::{json, Value};

fn main() {
    let event: Value = serde_json::from_reader(std::io::stdin()).unwrap();
    println!("{}", json!({"message": format!("Hello {}", event["name"].as_str().unwrap_or("World"))}));
}
"""
C = """#include <stdio.h>

int main(void) {
    char event[4096];
    size_t size = fread(event, 1, sizeof event - 1, stdin);
    printf("{\\"message\\": \\"Hello\\", \\"bytes\\": %zu}", size);
    return 0;
}
"""


@dataclass(frozen=True, slots=True)
class Language:
    """A hello world. `runtime` and `handler` as in the API."""

    title: str
    runtime: str
    handler: str
    code: str
    language: str = ""


LANGUAGES = (
    Language("Python", "python3.11", "handler.main", PYTHON),
    Language("Node.js", "nodejs20", "handler.main", NODE),
    Language("Go, Handler", "go1.24", "handler.Handler", GO),
    Language("Rust", "wasm", "handler.main", RUST, "rust"),
    Language("C", "wasm", "handler.main", C, "c"),
)

WASM = ("Rust", "C")


@dataclass(frozen=True, slots=True)
class Measured:
    """In ms. First calls and builds are of several functions, each with code of its own."""

    builds: list[float]
    firsts: list[float]
    kinds: set[str]
    warm_p50: float
    errors: int


def figures(stack: Stack, *, seconds: float, times: int) -> list[Figure]:
    """Lines of the table, Python's first."""
    told = {one.title: measure(stack, one, seconds=seconds, times=times) for one in LANGUAGES}
    python = told["Python"].warm_p50
    return [figure for title, one in told.items() for figure in _lines(title, one, python)]


def _lines(title: str, one: Measured, python: float) -> list[Figure]:
    ratio, first = one.warm_p50 / python, quantile(one.firsts, 0.5)
    shown = f"p50 {first:.1f} ms, worst {max(one.firsts):.1f} ms"
    is_wasm, has_bar = title in WASM, title not in ("Python", "Node.js")
    return [
        Figure(f"{title}: deployed and built in", f"p50 {quantile(one.builds, 0.5):.0f} ms"),
        Figure(
            f"{title}: first call, {'/'.join(sorted(one.kinds))}",
            shown,
            "≤ 60 ms" if is_wasm else "",
            first <= 60 if is_wasm else None,
        ),
        Figure(
            f"{title}: warm p50",
            f"{one.warm_p50:.2f} ms, {ratio:.2f} × Python",
            "≤ 1.5 × Python" if has_bar else "",
            ratio <= 1.5 and one.errors == 0 if has_bar else None,
        ),
    ]


def measure(stack: Stack, language: Language, *, seconds: float, times: int) -> Measured:
    """Deploy and call some, then call the last one for a while."""
    builds, firsts, kinds = [], [], set()
    name = ""
    for number in range(times):
        if name:
            stack.delete(name)
        name = f"bench-{language.title.split(',')[0].replace('.', '').lower()}-{number}"
        builds.append(_deploy(stack, language, name, language.code.replace("Hello", f"Hello{number}")))
        wait_until(lambda: _has_stock(stack, language.runtime), 60, f"a prewarmed sandbox for {name}")
        began = time.perf_counter()
        first = stack.invoke(name)
        firsts.append((time.perf_counter() - began) * 1000)
        assert first.status_code == 200, first.text
        kinds.add(first.json()["start_kind"])
    load = stack.load(name, callers=1, seconds=seconds)
    return Measured(builds, firsts, kinds, load.quantile(0.5), load.errors)


def _deploy(stack: Stack, language: Language, name: str, code: str) -> float:
    """Until it can be called, ms."""
    body = {"name": name, "runtime": language.runtime, "handler": language.handler, "code": code}
    began = time.perf_counter()
    answer = stack.client.post("/functions", json=body | ({"language": language.language} if language.language else {}))
    assert answer.status_code == 201, answer.text
    wait_until(lambda: _status(stack, name) != "creating", 300, f"{name} is built")
    took = (time.perf_counter() - began) * 1000
    assert _status(stack, name) == "active", stack.client.get(f"/functions/{name}").text
    return took


def _status(stack: Stack, name: str) -> str:
    status: str = stack.client.get(f"/functions/{name}").json()["status"]
    return status


def _has_stock(stack: Stack, runtime: str) -> bool:
    pool = stack.pool()
    stock: int = pool.get("prewarmed", {}).get(runtime, 0)
    return pool.get("booting") == 0 and stock >= 1
