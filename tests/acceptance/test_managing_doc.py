"""docs/managing.md does what it says: its commands run, one after the other, on a real platform."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from nimbus_project.config import ROOT
from tests.platform import Platform

pytestmark = pytest.mark.timeout(180)

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


def test_its_commands_run(platform: Platform, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("other: no curl")
    blocks = _BLOCK.findall((ROOT / "docs" / "managing.md").read_text())
    assert len(blocks) > 10
    script = _BEFORE + "\n".join(blocks).replace("http://localhost:8080", platform.url)
    # Where its files fall; the programs that it names are this checkout's.
    for name in (".venv", "manage.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {**os.environ, **platform.env}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "\n400\n" in done.stdout
    assert (tmp_path / "functions.zip").stat().st_size > 500
    assert "function.update" in (tmp_path / "audit.csv").read_text()
    assert platform.client.get("/api/v1/functions/price").status_code == 404
