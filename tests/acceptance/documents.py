"""Documents whose commands are run, one after the other, on a real platform."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nimbus_project.config import ROOT
from tests.platform import Platform

_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# A refusal ends the script with its text, unless the command says that it wants the status.
_BEFORE = """
set -euo pipefail
curl() {
    case " $* " in
        *"%{http_code}"*) command curl -sS "$@" ;;
        *) command curl -sS --fail-with-body "$@" ;;
    esac
    echo
}
"""


def run(document: str, platform: Platform, folder: Path, *programs: str) -> str:
    """What its commands have said; fails with that when one of them does. Skips where a program is missing."""
    for program in ("curl", *programs):
        if shutil.which(program) is None:
            pytest.skip(f"other: no {program}")
    blocks = _BLOCK.findall((ROOT / "docs" / document).read_text())
    script = _BEFORE + "\n".join(blocks).replace("http://localhost:8080", platform.url)
    # Where its files fall; the programs that it names are this checkout's.
    for name in (".venv", "manage.py"):
        (folder / name).symlink_to(ROOT / name)
    environment = {**os.environ, **platform.env}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
