"""Builders without containers: what is installed on this machine, as child processes in private folders.

A builder's program is the one of its image (`deploy/builders`), told where things are here. Time, memory, disk and
output are bounded. What is not: it runs as the worker's user, and the network is this machine's. A compiler only reads
the user's code; a builder that runs it must not be among PROGRAMS.
"""

from __future__ import annotations

import os
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from functions.spec import MAX_ARTIFACT_BYTES
from nimbus_project.config import MIB, Config, config
from workers.drivers.process_go import GoMissing, GoWorkshop, end_compiling
from workers.drivers.process_packages import npm_command, pip_command
from workers.drivers.process_tree import descendants, memory_bytes
from workers.drivers.process_wasm import first_c_note, wasm_command
from workers.indexes import index_environment
from workers.toolchain import BuildError, BuildJob, BuildResult, LineSink, result_of, tar_of_sources

MAX_LOG_BYTES = 1 * MIB
_LOOK_SEC = 0.1
_END_SEC = 5.0
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Program:
    """A builder's program as it is started here."""

    argv: list[str]
    env: Mapping[str, str]


Find = Callable[[Path], Program]
"""The program, for a job in that private folder. Raises BuildError, which says what to install."""


def _go(folder: Path) -> Program:
    try:
        workshop = GoWorkshop(config().var_dir)
        places = {
            "NIMBUS_BUILD_DIR": str(folder),
            "NIMBUS_GOROOT": str(workshop.goroot),
            "NIMBUS_GOCACHE": str(workshop.cache),
        }
        return Program([str(workshop.builder)], places)
    except GoMissing as error:
        raise BuildError(str(error)) from error


PROGRAMS: dict[str, Find] = {
    "go": _go,
    "python": lambda folder: Program(*pip_command(folder)),
    "node": lambda folder: Program(*npm_command(folder)),
    "wasm": lambda folder: Program(*wasm_command(folder)),
}
"""By toolchain."""


class ProcessToolchains:
    """`workers.toolchain.Toolchains` as child processes."""

    def __init__(self, settings: Config) -> None:
        self._settings = settings
        self._folder = settings.var_dir.absolute() / "builds"
        self._guard = threading.Lock()
        self._running: set[int] = set()
        self._sweep()

    def _sweep(self) -> None:
        """Remove what workers that are dead have left, and end it if it still runs: their builds are made anew."""
        left = [path for path in self._folder.glob("*-*") if not psutil.pid_exists(int(path.name.partition("-")[0]))]
        if not left:
            return
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                place = Path(process.cwd())
                if any(place.is_relative_to(path) for path in left):
                    process.kill()
        for path in left:
            shutil.rmtree(path, ignore_errors=True)

    def build(self, job: BuildJob, on_line: LineSink, deadline: float) -> BuildResult:
        """See `Toolchains.build`."""
        find = PROGRAMS.get(job.toolchain)
        if find is None:
            raise BuildError(f"Without Docker there is no builder for {job.toolchain}. Start Docker.")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self._folder))
        try:
            program = find(folder)
            if job.toolchain == "wasm" and (note := first_c_note(job.files)):
                on_line(note)
            return self._run(program, job, folder, on_line, deadline)
        except OSError as error:
            raise BuildError(f"The system did not run the builder: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """See `Toolchains.close`."""
        with self._guard:
            running = list(self._running)
        for pid in running:
            kill_tree(pid)
        end_compiling()

    def _run(self, program: Program, job: BuildJob, folder: Path, on_line: LineSink, deadline: float) -> BuildResult:
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}
        fetching = index_environment(job.toolchain, self._settings, _Here(folder)) if job.network else {}
        process = subprocess.Popen(
            program.argv,
            cwd=folder, env={**env, **job.settings, **fetching, **program.env}, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        with self._guard:
            self._running.add(process.pid)
        try:
            _bound(process.pid, self._settings)
            return _Build(process, self._settings, on_line, deadline).result(tar_of_sources(job.files))
        finally:
            kill_tree(process.pid)
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                with suppress(OSError):
                    if pipe is not None:
                        pipe.close()
            with self._guard:
                self._running.discard(process.pid)


@dataclass(frozen=True, slots=True)
class _Here:
    """A `workers.indexes.Place`: the builder sees this machine's own files."""

    folder: Path

    def path(self, path: Path) -> str:
        return str(path.resolve())

    def text(self, name: str, text: str) -> str:
        file = self.folder / name
        file.write_text(text)
        return str(file)


def _bound(pid: int, settings: Config) -> None:
    """Limits of a builder that still waits for its sources."""
    if sys.platform != "linux":
        return
    with suppress(OSError):
        disk = settings.build_disk_mb * MIB
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (disk, disk))
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))


def kill_tree(pid: int) -> None:
    """End a process that leads a session, and all that it started; they write no more when this returns."""
    found = []
    for one in descendants(pid):
        with suppress(psutil.Error):
            found.append(psutil.Process(one))
    with suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    for process in found:
        with suppress(psutil.Error):
            process.kill()
    until = time.monotonic() + _END_SEC
    while any(map(_runs, found)) and time.monotonic() < until:
        time.sleep(0.002)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


@dataclass(slots=True)
class _Build:
    """One running builder: its streams, watched."""

    process: subprocess.Popen[bytes]
    settings: Config
    on_line: LineSink
    deadline: float
    artifact: bytearray = field(default_factory=bytearray)
    logged: int = 0
    pending: bytes = b""

    def result(self, sources: bytes) -> BuildResult:
        """Send the sources, read both streams to their end."""
        sender = threading.Thread(target=self._send, args=(sources,), name="nimbus-build-in", daemon=True)
        sender.start()
        problem = self._follow()
        if problem:
            kill_tree(self.process.pid)
        code = self.process.wait()
        sender.join()
        if self.pending:
            self.on_line(self.pending.decode(errors="replace"))
        if problem:
            return BuildResult(artifact=None, error=problem)
        return result_of(code, bytes(self.artifact))

    def _send(self, sources: bytes) -> None:
        assert self.process.stdin is not None
        # The other end may close first: a builder that fails early reads nothing more.
        with suppress(OSError, ValueError):
            view = memoryview(sources)
            while view:
                view = view[self.process.stdin.write(view) :]
            self.process.stdin.close()

    def _follow(self) -> str:
        """Until both streams end; else why the builder has to be stopped."""
        assert self.process.stdout is not None and self.process.stderr is not None
        limit = self.settings.build_memory_mb * MIB
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ, self._take_artifact)
            ready.register(self.process.stderr, selectors.EVENT_READ, self._take_log)
            while ready.get_map():
                for key, _ in ready.select(_LOOK_SEC):
                    data = os.read(key.fd, _CHUNK)
                    if data:
                        key.data(data)
                    else:
                        ready.unregister(key.fileobj)
                if time.monotonic() > self.deadline:
                    return "The build took too long and was stopped."
                if len(self.artifact) > MAX_ARTIFACT_BYTES:
                    return f"The artifact is larger than {MAX_ARTIFACT_BYTES} bytes."
                if memory_bytes([self.process.pid, *descendants(self.process.pid)], limit) > limit:
                    return f"The build used more than {self.settings.build_memory_mb} MB."
        return ""

    def _take_artifact(self, data: bytes) -> None:
        self.artifact += data

    def _take_log(self, data: bytes) -> None:
        if self.logged >= MAX_LOG_BYTES:
            return
        self.logged += len(data)
        *lines, self.pending = (self.pending + data).split(b"\n")
        for line in lines:
            self.on_line(line.decode(errors="replace"))
