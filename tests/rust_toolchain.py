"""A Rust compiler for WebAssembly where the machine has none of its own: the one of the builder's image, copied out.

Debian 12's rustc knows no WASI. What is in the image does, but wants the image's own C library: so the programs are
started by the image's dynamic linker, each from a script of the usual name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.integration.artifacts import builder_ready
from workers.drivers.docker.engine import connect
from workers.sandbox import SandboxError
from workers.toolchain import builder_image

TARGET = "wasm32-wasip1"
_WAIT_SEC = 120

_LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
_PROGRAMS = {"rustc": "usr/libexec/rustc", "wasm-ld": "usr/lib/llvm-19/bin/wasm-ld"}
"""Where the copy has them. rustc looks for its target's library beside the folder of its own libraries."""
_LINKER = "usr/lib64/ld-linux-x86-64.so.2"

_PACKED = "/tmp/rust"
_PACK = f"""set -eu
programs='/usr/bin/rustc /usr/lib/llvm-19/bin/wasm-ld'
libraries=$(ldd $programs | sed -n 's/.* => \\([^ ]*\\) .*/\\1/p' | sed 's,^/lib/,/usr/lib/,' | sort -u)
mkdir -p {_PACKED}/usr/libexec
cp --recursive --dereference --parents $programs $libraries /{_LINKER} /usr/lib/rustlib/wasm32-wasip1 {_PACKED}
mv {_PACKED}/usr/bin/rustc {_PACKED}/usr/libexec/rustc
rmdir {_PACKED}/usr/bin
"""
"""Gathers what compiling takes, links followed: some 350 MB of the image's 850."""


def rust_on_path() -> bool:
    """Whether this machine's rustc has the target."""
    rustc = shutil.which("rustc")
    if rustc is None:
        return False
    asked = [rustc, "--print=target-libdir", f"--target={TARGET}"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return bool(found) and Path(found).is_dir()


def copy_rust(folder: Path) -> Path | None:
    """The image's compiler in `folder`, which must not be there; what has to come first on the PATH. None where no
    Docker engine answers."""
    try:
        builder_ready("wasm")
    except (ImportError, SandboxError):
        return None
    folder.mkdir()
    _copy_out(folder)
    (programs := folder / "usr" / "bin").mkdir()
    for name, place in _PROGRAMS.items():
        script = programs / name
        libraries = f"--library-path '{folder / _LIBRARIES}'"
        script.write_text(
            f"#!/bin/sh\nexec '{folder / _LINKER}' {libraries} --argv0 {name} '{folder / place}' \"$@\"\n"
        )
        script.chmod(0o755)
    return programs


def path_with(programs: Path) -> str:
    return os.pathsep.join([str(programs), os.environ.get("PATH", os.defpath)])


def _copy_out(folder: Path) -> None:
    """Through the engine's own archive: so it works with one that shares no folders with us."""
    api = connect(_WAIT_SEC)
    host = api.create_host_config(network_mode="none")
    made = api.create_container(builder_image("wasm"), entrypoint=["sh", "-c", _PACK], host_config=host)["Id"]
    try:
        api.start(made)
        code = api.wait(made, timeout=_WAIT_SEC)["StatusCode"]
        assert code == 0, api.logs(made).decode(errors="replace")
        parts, _ = api.get_archive(made, _PACKED)
        unpacking = ["tar", "--extract", "--strip-components=1", "-C", str(folder)]
        with subprocess.Popen(unpacking, stdin=subprocess.PIPE) as unpacker:
            assert unpacker.stdin is not None
            for data in parts:
                unpacker.stdin.write(data)
        assert unpacker.returncode == 0
    finally:
        api.remove_container(made, force=True, v=True)
        api.close()
