"""C: all .c files of the project together, with WASI's libc."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

from compilers import STACK_BYTES, code_of, run  # type: ignore[import-not-found]

SYSTEM_HEADERS = ("/usr/include/wasm32-wasi", "/usr/share/wasi-sysroot/include")

_MAIN = re.compile(r"\bmain\s*\(")


def compile_to(made: Path, sources: Path, names: list[str]) -> None:
    """Raises Rejected."""
    files = [name for name in names if name.endswith(".c")]
    is_program = any(_MAIN.search(code_of(sources / name)) for name in files)
    options = ["-O2", "-g1", "-Wall", "-fno-color-diagnostics", "-I.", "-lm"]
    # Debug information names the user's files as /src/…, wherever they are compiled.
    options += ["-fdebug-compilation-dir=/src", f"-ffile-prefix-map={sources}=/src"]
    options += [f"-Wl,-z,stack-size={STACK_BYTES}", "-Wl,--stack-first", "-Wl,--export=__stack_pointer"]
    if not is_program:
        # Without main it must be a library. fflush is for the runner: see there.
        exports = [f"-Wl,--export-if-defined={name}" for name in ("alloc", "handle")]
        options += ["-mexec-model=reactor", *exports, "-Wl,--export=fflush"]
    run([*_compiler(), *options, "-o", str(made), *files], sources)


def _compiler() -> list[str]:
    clang = shutil.which("clang")
    if clang and any(Path(folder).is_dir() for folder in SYSTEM_HEADERS):
        return [clang, "--target=wasm32-wasi"]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc", "--target=wasm32-wasi"]
    return ["clang", "--target=wasm32-wasi"]
