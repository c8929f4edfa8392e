"""Rust: one crate, of one or several files, with serde and serde_json at hand."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from compilers import STACK_BYTES, Rejected, code_of, run  # type: ignore[import-not-found]

TARGET = "wasm32-wasip1"
CRATES = ("serde", "serde_json")
CRATES_FOLDER = Path("/opt/nimbus/crates")
"""Where the image has them, compiled."""

_MAIN = re.compile(r"^\s*(?:pub\s+)?fn\s+main\s*\(", re.MULTILINE)
_SERDE = re.compile(r"\bserde(?:_json)?::")
_HANDLE = re.compile(r"\bextern\s+\"C\"\s+fn\s+handle\s*\(")


def compile_to(made: Path, sources: Path, names: list[str], handler: str) -> None:
    """Raises Rejected."""
    _check_compiler()
    root = _root(sources, names, handler)
    _check_dependencies(sources)
    code = code_of(sources / root)
    if _SERDE.search(code) and not CRATES_FOLDER.is_dir():
        raise Rejected("serde and serde_json are in the builder's image only. Start Docker.")
    # Relative to where the file is, so that messages have the user's own names.
    run(_command(made, sources, root, _kind(code)), sources)


def _check_compiler() -> None:
    """In the image it is there."""
    if CRATES_FOLDER.is_dir():
        return
    rustc = shutil.which("rustc")
    asked = [rustc or "", "--print=target-libdir", f"--target={TARGET}"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() if rustc else ""
    if not found or not Path(found).is_dir():
        raise Rejected(
            f"There is no Rust compiler for WebAssembly here: install rustc 1.78 or newer with the target {TARGET} "
            f"(rustup target add {TARGET}). Or start Docker."
        )


def _root(sources: Path, names: list[str], handler: str) -> str:
    """The crate's first file."""
    usual = (f"{handler}.rs", "src/main.rs", "main.rs", "src/lib.rs", "lib.rs")
    for name in usual:
        if name in names:
            return name
    rust = [name for name in names if name.endswith(".rs")]
    if len(rust) > 1:
        rust = [name for name in rust if _MAIN.search(text := code_of(sources / name)) or _HANDLE.search(text)]
    if len(rust) == 1:
        return rust[0]
    raise Rejected(f"It is not clear which file is the crate's root: name one of them {', '.join(usual[:4])}.")


def _kind(code: str) -> str:
    """A library when it exports `handle`; else a program, for which the compiler asks for main if there is none."""
    if _HANDLE.search(code):
        return "cdylib"
    if not _MAIN.search(code):
        raise Rejected(
            "The code is no function: write either fn main(), which reads the event from stdin and prints the result, "
            'or #[no_mangle] pub extern "C" fn alloc(size: usize) -> *mut u8 and '
            '#[no_mangle] pub extern "C" fn handle(ptr: *mut u8, len: usize) -> u64.'
        )
    return "bin"


def _check_dependencies(sources: Path) -> None:
    """Cargo.toml may be there; it must not ask for what isn't."""
    manifest = sources / "Cargo.toml"
    if not manifest.is_file():
        return
    try:
        asked = tomllib.loads(manifest.read_text(errors="replace")).get("dependencies", {})
    except tomllib.TOMLDecodeError as error:
        raise Rejected(f"Cargo.toml can't be read: {error}.") from None
    if strange := sorted(set(asked) - set(CRATES)):
        raise Rejected(f"Cargo.toml asks for {', '.join(strange)}; there are {' and '.join(CRATES)} only.")


def _command(made: Path, sources: Path, root: str, kind: str) -> list[str]:
    name = re.sub(r"\W", "_", Path(root).stem)
    options = [f"--target={TARGET}", "--edition=2021", "--color=never", f"--crate-type={kind}", f"--crate-name={name}"]
    options += ["-Copt-level=2", "-Cpanic=abort", "-Cstrip=debuginfo", f"--remap-path-prefix={sources}=/src"]
    options += [f"-Clink-arg=-zstack-size={STACK_BYTES}", "-Clink-arg=--export=__stack_pointer"]
    if shutil.which("wasm-ld"):
        # By its name: where it lies would be in what the user is told when linking fails.
        options += ["-Clinker=wasm-ld", "-Clinker-flavor=wasm-ld"]
    options += ["-L", f"dependency={CRATES_FOLDER}"]
    for crate in CRATES:
        options += [f"--extern={crate}={path}" for path in sorted(CRATES_FOLDER.glob(f"lib{crate}-*.rlib"))]
    return ["rustc", *options, "-o", str(made), root]
