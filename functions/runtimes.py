"""The catalogue of runtimes: what a function may be written in. Plain Python."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Runtime:
    """One language and version."""

    name: str
    """As in the API: ``python3.11``."""
    folder: str
    """Its runner's folder below ``workers/runtimes`` and its Dockerfile's stem in ``deploy/runtimes``."""
    image: str
    """Tag of the image that `build_runtimes` makes."""
    source_suffix: str
    """Suffix of a single source file, with the dot."""
    title: str


RUNTIMES: dict[str, Runtime] = {
    r.name: r
    for r in (
        Runtime("python3.11", "python", "nimbus/runtime-python:3.11", ".py", "Python 3.11"),
        Runtime("nodejs20", "node", "nimbus/runtime-node:20", ".js", "Node.js 20"),
        Runtime("go1.24", "go", "nimbus/runtime-go:1.24", ".go", "Go 1.24"),
        Runtime("wasm", "wasm", "nimbus/runtime-wasm:1", ".wasm", "WebAssembly (Rust, C)"),
    )
}
