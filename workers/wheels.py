"""Python wheels that go into images: fetched by this installation's own pip, from the index it is set up with."""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
from pathlib import Path

LIST_NAME = "wheels.txt"
"""Beside a runner or a builder's program: one pinned requirement a line, without what it depends on."""
FETCH_SEC = 300

_LINUX = ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux2010", "manylinux1")
_MACHINES = {"arm64": "aarch64", "AMD64": "x86_64"}


class WheelError(Exception):
    """A wheel could not be fetched; the message says why."""


def fetch_wheels(requirements: str) -> dict[str, bytes]:
    """The wheels by file name, for Linux on this machine's processor whatever this machine runs. Raises WheelError."""
    with tempfile.TemporaryDirectory(prefix="nimbus-wheels-") as folder:
        wanted = Path(folder) / LIST_NAME
        wanted.write_text(requirements)
        target = Path(folder) / "wheels"
        try:
            done = subprocess.run(
                download_command(wanted, target), capture_output=True, text=True, timeout=FETCH_SEC, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise WheelError(f"pip could not fetch what {LIST_NAME} lists: {error}") from error
        if done.returncode != 0:
            raise WheelError(f"pip could not fetch what {LIST_NAME} lists:\n{done.stderr.strip()[-2000:]}")
        return {path.name: path.read_bytes() for path in sorted(target.glob("*.whl"))}


def download_command(wanted: Path, target: Path) -> list[str]:
    """The whole command; pure but for the processor's name."""
    machine = _MACHINES.get(platform.machine(), platform.machine())
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(target), "--requirement", str(wanted)]
    return [*command, *(f"--platform={linux}_{machine}" for linux in _LINUX)]
