"""The builder of WebAssembly functions: Rust, C, or a module that is there already.

A tar of the sources on stdin; on stdout the artifact, a gzipped tar with `module.wasm` and, compiled ahead of time,
`module.cwasm`; on stderr what the compilers say. Exit code 1: the sources are to blame. NIMBUS_HANDLER and
NIMBUS_LANGUAGE (``rust``, ``c`` or nothing) are the function's. Only the standard library, and wasmtime.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The runner's engine: in the image beside this folder, in a checkout where runners are.
RUNNER = next(path for path in (HERE.parent / "runner", HERE.parents[2] / "workers/runtimes/wasm") if path.is_dir())
sys.path[:0] = [str(HERE), str(RUNNER)]

import c  # type: ignore[import-not-found]  # noqa: E402  found by the line above
import rust  # type: ignore[import-not-found]  # noqa: E402
from compilers import Rejected  # type: ignore[import-not-found]  # noqa: E402
from engine import (  # type: ignore[import-not-found]  # noqa: E402
    COMPILED,
    MODULE,
    WrongModule,
    form_of,
    make_engine,
    wasi_linker,
)
from wasmtime import Module, WasmtimeError  # noqa: E402


def main() -> int:
    artifact = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what compilers print is the log, wherever they print it
    handler = os.environ.get("NIMBUS_HANDLER", "handler.main").split(".")[0]
    language = os.environ.get("NIMBUS_LANGUAGE", "")
    with tempfile.TemporaryDirectory(prefix="build-") as work:
        sources, made = Path(work) / "src", Path(work) / "made.wasm"
        sources.mkdir()
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
            tar.extractall(sources, filter="data")
        try:
            module = compile_sources(sources, language, handler, made)
            compiled = compile_ahead(module)
        except Rejected as error:
            sys.stderr.write(f"{error}\n" if str(error) else "")
            return 1
    with artifact:
        artifact.write(packed({MODULE: module, COMPILED: compiled}))
    return 0


def compile_sources(sources: Path, language: str, handler: str, made: Path) -> bytes:
    """The module. Raises Rejected."""
    names = sorted(path.relative_to(sources).as_posix() for path in sources.rglob("*") if path.is_file())
    ready = [name for name in names if name.endswith(".wasm")]
    if any(name.endswith(".rs") for name in names) and language != "c":
        rust.compile_to(made, sources, names, handler)
    elif any(name.endswith(".c") for name in names):
        c.compile_to(made, sources, names)
    elif len(ready) == 1:
        return (sources / ready[0]).read_bytes()
    else:
        raise Rejected(f"There is nothing to compile: no .rs, no .c, not one .wasm. Files: {', '.join(names[:20])}.")
    return made.read_bytes()


def compile_ahead(module: bytes) -> bytes:
    """The module as this machine's processor runs it. Raises Rejected for one that could not be a function."""
    engine = make_engine()
    try:
        checked = Module(engine, module)
        form_of(checked)
        wasi_linker(engine).instantiate_pre(checked)
        return bytes(checked.serialize())
    except WasmtimeError as error:
        reason = str(error).replace("Caused by:", "").split("\n")
        raise Rejected(
            f"The module is not valid: {' '.join(line.strip() for line in reason if line.strip())}"
        ) from None
    except WrongModule as error:
        raise Rejected(str(error)) from None


def packed(files: dict[str, bytes]) -> bytes:
    """A gzipped tar, the same bytes for the same files."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1, mtime=0) as zipped:
        with tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for name in sorted(files):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(files[name]), 0o644
                tar.addfile(entry, io.BytesIO(files[name]))
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
