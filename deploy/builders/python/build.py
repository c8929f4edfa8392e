"""The Python builder: a tar with `requirements.txt` on stdin, a gzipped tar with ``python/`` on stdout, pip's log on
stderr. Exits with 1 when pip could not install what is asked for.

Where packages come from is in the environment (PIP_…), never in the sources. Python 3.11's standard library and pip.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

from packing import artifact_stream, pack, unpack

WORK = Path(os.environ.get("NIMBUS_BUILD_DIR", "/work"))
OPTIONS = (
    "--no-input",
    "--no-cache-dir",
    "--no-compile",
    # A wheel installs the same everywhere; an older one is better than a compiler that is not here.
    "--prefer-binary",
    "--progress-bar=off",
    "--no-warn-script-location",
    "--root-user-action=ignore",
    "--disable-pip-version-check",
)


def main() -> int:
    artifact = artifact_stream()
    sources, made = WORK / "src", WORK / "out"
    packages = made / "python"
    unpack(sources)
    for folder in (packages, WORK / "tmp"):
        folder.mkdir(parents=True)
    environment = os.environ | {"HOME": str(WORK), "TMPDIR": str(WORK / "tmp")}
    command = [sys.executable, "-m", "pip", "install", *OPTIONS, "--target", str(packages), "-r", "requirements.txt"]
    if subprocess.run(command, cwd=sources, env=environment, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        return 1
    # Scripts for a shell, made for this interpreter's path: of no use to a function.
    shutil.rmtree(packages / "bin", ignore_errors=True)
    # Sandboxes can't write: without bytecode every cold start would compile. Unchecked: the files never change.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(packages, quiet=2, invalidation_mode=mode, stripdir=str(made), maxlevels=50)
    pack(made, artifact)
    return 0


if __name__ == "__main__":
    sys.exit(main())
