"""C: all .c files of the project together, with WASI's libc."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

from compilers import STACK_BYTES, Rejected, code_of, run  # type: ignore[import-not-found]

SYSTEM_HEADERS = ("/usr/include/wasm32-wasi", "/usr/share/wasi-sysroot/include")
LIBRARY = ("alloc", "handle")

_MAIN = re.compile(r"\bmain\s*\(")
_HANDLE = re.compile(r"\bhandle\s*\(")


def compile_to(made: Path, sources: Path, names: list[str]) -> None:
    """Raises Rejected."""
    files = [name for name in names if name.endswith(".c")]
    code = "\n".join(code_of(sources / name) for name in files)
    compiler, may_export = _compiler()
    options = ["-O2", "-g1", "-Wall", "-fno-color-diagnostics", "-I.", "-lm"]
    # Debug information names the user's files as /src/…, wherever they are compiled.
    options += ["-fdebug-compilation-dir=/src", f"-ffile-prefix-map={sources}=/src"]
    options += [f"-Wl,-z,stack-size={STACK_BYTES}", "-Wl,--export=__stack_pointer"]
    if not _MAIN.search(code):
        if not _HANDLE.search(code):
            raise Rejected(
                "The code is no function: write either int main(void), which reads the event from stdin and prints the "
                "result, or void *alloc(size_t size) and uint64_t handle(const char *ptr, size_t len)."
            )
        # fflush is for the runner: what was printed without a newline would go with the instance.
        exports = [f"-Wl,{may_export}={name}" for name in LIBRARY]
        options += ["-mexec-model=reactor", *exports, "-Wl,--export=fflush"]
    run([*compiler, *options, "-o", str(made), *files], sources)


def _compiler() -> tuple[list[str], str]:
    """The command, and its linker's option for an export that may not be there. Raises Rejected."""
    clang = shutil.which("clang")
    if clang and any(Path(folder).is_dir() for folder in SYSTEM_HEADERS):
        # The stack first: an overflow of it then leaves the memory, which is a trap, instead of overwriting data.
        return [clang, "--target=wasm32-wasi", "-Wl,--stack-first"], "--export-if-defined"
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc", "--target=wasm32-wasi"], "--export"
    raise Rejected(
        "There is no C compiler for WebAssembly here: run `pip install ziglang`, or install clang, lld and wasi-libc. "
        "Or start Docker."
    )
