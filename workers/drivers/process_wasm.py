"""The WebAssembly builder without containers: rustc and a C compiler as this machine has them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from nimbus_project.config import ROOT, config
from workers.toolchain import BuildError

BUILDER = ROOT / "deploy" / "builders" / "wasm" / "build.py"
_ASK_SEC = 10
_SYSTEM_HEADERS = ("/usr/include/wasm32-wasi", "/usr/share/wasi-sysroot/include")

Command = tuple[list[str], dict[str, str]]
"""A command line and its environment."""


def wasm_command(folder: Path) -> Command:
    """The builder, whose private folder is `folder`; it says itself which compiler it misses. Raises BuildError."""
    if find_spec("wasmtime") is None:
        raise BuildError("WebAssembly functions need wasmtime: run `pip install wasmtime`. Or start Docker.")
    path = os.pathsep.join(filter(None, [_rust_folder(), os.environ.get("PATH", "")]))
    # zig compiles its libc once; with a home of its own it would at every build.
    places = {"ZIG_GLOBAL_CACHE_DIR": str(zig_cache()), "ZIG_LOCAL_CACHE_DIR": str(folder / "zig")}
    settings = {"PATH": path, **places}
    return [sys.executable, str(BUILDER)], settings


def zig_cache() -> Path:
    """What zig keeps for all builds of this node, its libc above all."""
    return config().var_dir.absolute() / "cache" / "zig"


def first_c_note(sources: Iterable[str]) -> str:
    """What to tell who waits for the first C build of this node, which has to make the C library too; "" for others."""
    is_c = any(name.endswith(".c") for name in sources)
    if not is_c or find_spec("ziglang") is None or any(zig_cache().glob("o/*/libc.a")):
        return ""
    # As the builder chooses between its two compilers (`deploy/builders/wasm/c.py`).
    if shutil.which("clang") and any(Path(folder).is_dir() for folder in _SYSTEM_HEADERS):
        return ""
    return "Building the C library once for all C functions of this machine: this takes about a minute."


def _rust_folder() -> str:
    """Where rustc itself is: rustup's stand-in for it needs the worker's home, which builders have not."""
    rustc = shutil.which("rustc")
    if rustc is None:
        return ""
    try:
        done = subprocess.run([rustc, "--print=sysroot"], capture_output=True, text=True, timeout=_ASK_SEC, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return str(Path(done.stdout.strip()) / "bin")
