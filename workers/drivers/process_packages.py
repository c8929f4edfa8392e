"""pip and npm as builders without containers.

Installing a package may mean running it: a source distribution's set-up, an npm package's scripts. Here that would be
with the worker's rights, so neither is done: Python packages must come as wheels, and npm's scripts are left out. With
Docker both are contained, and allowed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from nimbus_project.config import ROOT
from workers.npm import MISSING, find_npm
from workers.toolchain import BuildError

BUILDERS = ROOT / "deploy" / "builders"
_RUNTIME = (3, 11)

Command = tuple[list[str], dict[str, str]]
"""A command line and its environment."""


def pip_command(folder: Path) -> Command:
    """The Python builder, working in `folder`. Raises BuildError, which says what to install."""
    if sys.version_info[:2] != _RUNTIME or find_spec("pip") is None:
        raise BuildError(
            "Python dependencies need pip of Python 3.11 in the worker's own environment: start the worker with Python "
            "3.11, or run `python -m ensurepip`. Or start Docker."
        )
    settings = {"NIMBUS_BUILD_DIR": str(folder / "work"), "PIP_ONLY_BINARY": ":all:"}
    return [sys.executable, str(BUILDERS / "python" / "build.py")], settings


def npm_command(folder: Path) -> Command:
    """The Node builder, working in `folder`. Raises BuildError, which says what to install."""
    npm = find_npm()
    if not npm:
        raise BuildError(MISSING)
    # npm on the PATH is a script that looks for node there.
    node = shutil.which("node") if len(npm) == 1 else npm[0]
    settings = {
        "NIMBUS_BUILD_DIR": str(folder / "work"),
        "NIMBUS_NPM": shlex.join(npm),
        "npm_config_ignore_scripts": "true",
        "PATH": os.pathsep.join([str(Path(node or npm[0]).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
    }
    return [sys.executable, str(BUILDERS / "node" / "build.py")], settings
