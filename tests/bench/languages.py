"""Each runtime beside Python: how long a build takes, the first call in a prewarmed sandbox, warm calls."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.bench.load import run_load
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


@dataclass(frozen=True, slots=True)
class Measured:
    """In ms."""

    build: float
    first: float
    first_kind: str
    warm_p50: float
    errors: int


def measure(stack: Stack, language: Language, *, seconds: float) -> Measured:
    """Deploy it, call it once, then for a while."""
    name = f"bench-{language.title.split(',')[0].replace('.', '').lower()}"
    body = {"name": name, "runtime": language.runtime, "handler": language.handler, "code": language.code}
    began = time.perf_counter()
    answer = stack.client.post("/functions", json=body | ({"language": language.language} if language.language else {}))
    assert answer.status_code == 201, answer.text
    wait_until(lambda: _status(stack, name) != "creating", 300, f"{name} is built")
    build = (time.perf_counter() - began) * 1000
    assert _status(stack, name) == "active", stack.client.get(f"/functions/{name}").text
    wait_until(lambda: _has_stock(stack, language.runtime), 60, f"a prewarmed sandbox for {name}")
    began = time.perf_counter()
    first = stack.invoke(name)
    took = (time.perf_counter() - began) * 1000
    assert first.status_code == 200, first.text
    path = f"/api/v1/functions/{name}/invoke"
    run_load("127.0.0.1", stack.port, path, callers=1, seconds=1)
    load = run_load("127.0.0.1", stack.port, path, callers=1, seconds=seconds)
    return Measured(build, took, first.json()["start_kind"], load.quantile(0.5), load.errors)


def _status(stack: Stack, name: str) -> str:
    status: str = stack.client.get(f"/functions/{name}").json()["status"]
    return status


def _has_stock(stack: Stack, runtime: str) -> bool:
    pool = stack.pool()
    stock: int = pool.get("prewarmed", {}).get(runtime, 0)
    return pool.get("booting") == 0 and stock >= 1
