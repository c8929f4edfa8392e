"""The WebAssembly builder without containers: rustc and a C compiler as this machine has them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from nimbus_project.config import ROOT, config
from workers.toolchain import BuildError

BUILDER = ROOT / "deploy" / "builders" / "wasm" / "build.py"
_ASK_SEC = 10

Command = tuple[list[str], dict[str, str]]
"""A command line and its environment."""


def wasm_command(folder: Path) -> Command:
    """The builder, whose private folder is `folder`; it says itself which compiler it misses. Raises BuildError."""
    if find_spec("wasmtime") is None:
        raise BuildError("WebAssembly functions need wasmtime: run `pip install wasmtime`. Or start Docker.")
    path = os.pathsep.join(filter(None, [_rust_folder(), os.environ.get("PATH", "")]))
    # zig compiles its libc once; with a home of its own it would at every build.
    cache = config().var_dir.absolute() / "cache" / "zig"
    settings = {"PATH": path, "ZIG_GLOBAL_CACHE_DIR": str(cache), "ZIG_LOCAL_CACHE_DIR": str(folder / "zig")}
    return [sys.executable, str(BUILDER)], settings


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
