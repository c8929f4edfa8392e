"""The process driver: runners as child processes, for a laptop without Docker.

WHAT IT DOES NOT PROTECT FROM. The code runs on this machine's kernel and file system. It can read every file that its
user can: started by an ordinary user, it *is* that user, reads their home and the worker's memory, and can end the
worker. Started by root (Linux), each sandbox has a user of its own and can't touch the worker, but where the
interpreter lies in a closed folder (`/root/...`) it keeps the right to read every file. The network is cut off only
where root may do so. CPU time is not shared out; disk space is bounded per file, not in sum; memory is looked at every
50 ms, not fenced. Don't run strangers' code with it: that is what the Docker driver is for.

What it does do: an environment without anything of the worker's, a private folder, limits for files, open files,
processes and memory, a deadline that kills the whole tree of processes, and nothing left behind.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil

from functions.runtimes import Runtime
from nimbus_project.config import Config, config
from workers.doorway import Doorway
from workers.drivers.process_go import GoMissing, GoWorkshop
from workers.drivers.process_interpreters import Interpreter, find_interpreter
from workers.drivers.process_sandbox import ProcessSandbox
from workers.drivers.process_tree import descendants, memory_bytes
from workers.link import Limits, Shelf
from workers.liveness import WorkerLock, bury, dead_workers
from workers.sandbox import SandboxError, Stage

logger = logging.getLogger(__name__)

KIND = "process"
LAUNCHER = Path(__file__).with_name("process_launcher.py")
RUNTIMES_DIR = Path(__file__).resolve().parent.parent / "runtimes"
MIB = 1024 * 1024
WATCH_SEC = 0.05
IDLE_EVERY = 20
"""Sandboxes without a call are looked at every so many rounds."""
FIRST_UID = 2_000_000_000
UIDS = 100_000_000
OPEN_FILES = 256


class ProcessDriver:
    """A `workers.sandbox.SandboxDriver` that starts child processes."""

    name = "process"

    def __init__(self, config: Config, stage: Stage | None = None) -> None:
        self._stage = stage
        self._config = config
        self._run_dir = config.var_dir.absolute() / "run"
        self._lock = WorkerLock(self._run_dir, KIND)
        self._guard = threading.Lock()
        self._sandboxes: dict[str, ProcessSandbox] = {}
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None

    def available(self, runtime: Runtime) -> str | None:
        """See `SandboxDriver.available`."""
        found = find_interpreter(runtime.name)
        return found if isinstance(found, str) else None

    def create(self, runtime: Runtime, *, memory_mb: int, network: str = "none", deadline: float) -> ProcessSandbox:
        """See `SandboxDriver.create`."""
        interpreter = find_interpreter(runtime.name)
        if isinstance(interpreter, str):
            raise SandboxError(interpreter)
        try:
            self._open()
            return self._start(runtime, interpreter, memory_mb, network, deadline)
        except OSError as error:
            raise SandboxError(f"The system did not start a process: {error}.") from error

    def sweep(self) -> int:
        """See `SandboxDriver.sweep`."""
        count = 0
        for directory in dead_workers(self._run_dir, KIND):
            for record in sorted(directory.glob("*.json")):
                count += 1
                _end_leftover(record)
            bury(directory)
        return count

    def close(self) -> None:
        """See `SandboxDriver.close`."""
        self._closed.set()
        with self._guard:
            sandboxes = list(self._sandboxes.values())
        for sandbox in sandboxes:
            sandbox.destroy()
        if self._watcher is not None:
            self._watcher.join()
        self._lock.release()

    def _open(self) -> None:
        """Take the worker's directory and start the watch, once."""
        with self._guard:
            if self._closed.is_set():
                raise SandboxError("The process driver is closed.")
            if self._lock.held:
                return
            self._lock.acquire()
            if os.geteuid() == 0:
                self._lock.directory.chmod(0o711)  # each sandbox's own user passes through, but sees nothing
            self._watcher = threading.Thread(target=self._watch, name="process-memory", daemon=True)
            self._watcher.start()

    def _start(
        self, runtime: Runtime, interpreter: Interpreter, memory_mb: int, network: str, deadline: float
    ) -> ProcessSandbox:
        sandbox_id = f"{runtime.folder}-{secrets.token_hex(6)}"
        folder = self._lock.directory / sandbox_id
        uid = FIRST_UID + secrets.randbelow(UIDS) if os.geteuid() == 0 else None
        runner = _runner_of(runtime, interpreter)
        _make_folders(folder, uid)
        launcher: subprocess.Popen[bytes] | None = None
        try:
            with Doorway(folder / "socket") as doorway:
                if uid is not None:
                    os.chown(folder / "socket", uid, uid)
                plan = self._plan(folder, uid, network, interpreter, runner)
                launcher = _launch(plan)
                self._record(sandbox_id, launcher.pid, uid)
                stream, _ = doorway.admit(deadline, lambda: _gone(launcher, folder))
        except BaseException:
            if launcher is not None:
                ProcessSandbox.end_launcher(launcher)
            self._forget(sandbox_id)
            raise
        limits = Limits(result_bytes=self._config.max_result_bytes, log_bytes=self._config.max_log_bytes)
        sandbox = ProcessSandbox(
            stream,
            id=sandbox_id,
            runtime=runtime.name,
            memory_mb=memory_mb,
            network=network,
            limits=limits,
            shelf=Shelf(stage=self._stage, folder=folder / "files", inside=str(folder / "files"))
            if self._stage
            else None,
            launcher=launcher,
            forget=self._forget,
        )
        with self._guard:
            self._sandboxes[sandbox_id] = sandbox
            closed = self._closed.is_set()
        if closed:
            sandbox.destroy()
            raise SandboxError("The process driver is closed.")
        return sandbox

    def _plan(
        self, folder: Path, uid: int | None, network: str, interpreter: Interpreter, runner: Path
    ) -> dict[str, object]:
        """What the launcher is to do."""
        argv = [*interpreter.argv(), str(runner)]
        task, tmp = folder / "task", folder / "tmp"
        needed = (Path(argv[0]), runner, folder.parent, *interpreter.reads)
        search = [str(Path(argv[0]).parent), "/usr/local/bin", "/usr/bin", "/bin"]
        return {
            "argv": argv,
            "env": {
                "PATH": os.pathsep.join(search),
                "HOME": str(task),
                "TMPDIR": str(tmp),
                "LANG": "C.UTF-8",
                "NIMBUS_SOCKET": "socket",  # below the working directory: no path is too long that way
                "NIMBUS_TASK_DIR": str(task),
            },
            "folder": str(folder),
            "uid": uid,
            "read_all": uid is not None and not all(map(_open_to_all, needed)),
            "network": network,
            "nofile": OPEN_FILES,
            "fsize_bytes": self._config.sandbox_tmp_mb * MIB,
            "nproc": self._config.sandbox_pids + (0 if uid is not None else _own_threads()),
        }

    def _record(self, sandbox_id: str, pid: int, uid: int | None) -> None:
        """For the sweeper of another worker, should this one be killed."""
        with suppress(psutil.NoSuchProcess):
            text = json.dumps({"pid": pid, "started": psutil.Process(pid).create_time(), "uid": uid})
            (self._lock.directory / f"{sandbox_id}.json").write_text(text)

    def _forget(self, sandbox_id: str) -> None:
        with self._guard:
            self._sandboxes.pop(sandbox_id, None)
        shutil.rmtree(self._lock.directory / sandbox_id, ignore_errors=True)
        (self._lock.directory / f"{sandbox_id}.json").unlink(missing_ok=True)

    def _watch(self) -> None:
        """Kill whoever holds more memory than allowed."""
        rounds = 0
        while not self._closed.wait(WATCH_SEC):
            rounds += 1
            with self._guard:
                sandboxes = list(self._sandboxes.values())
            for sandbox in sandboxes:
                if sandbox.busy or rounds % IDLE_EVERY == 0:
                    limit = sandbox.memory_mb * MIB
                    if memory_bytes(descendants(sandbox.launcher_pid), limit) > limit:
                        sandbox.out_of_memory()


def _runner_of(runtime: Runtime, interpreter: Interpreter) -> Path:
    """Our program for a runtime. Raises SandboxError."""
    if interpreter.language != "go":
        return next((RUNTIMES_DIR / runtime.folder).glob("runner.*"))
    try:
        # The installation's, however many drivers it has: compiled when it is first needed.
        return GoWorkshop(config().var_dir).runner
    except GoMissing as error:
        raise SandboxError(str(error)) from error


def _make_folders(folder: Path, uid: int | None) -> None:
    for path in (folder, folder / "task", folder / "tmp"):
        path.mkdir(mode=0o700)
        if uid is not None:
            os.chown(path, uid, uid)


def _launch(plan: dict[str, object]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(plan)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        bufsize=0,
        start_new_session=True,
    )


def _gone(launcher: subprocess.Popen[bytes] | None, folder: Path) -> str | None:
    """Why the runner will not come any more, from what it said before it ended."""
    if launcher is None or launcher.poll() is None:
        return None
    with suppress(OSError):
        said = (folder / "boot.log").read_text(errors="replace").strip()
        if said:
            return f"its runner ended, saying: {said[-500:]}"
    return "its runner ended at once"


def _open_to_all(path: Path) -> bool:
    """Whether a user without any rights reaches this path."""
    real = path.resolve()
    return all(parent.stat().st_mode & 0o001 for parent in real.parents) and bool(real.stat().st_mode & 0o005)


def _own_threads() -> int:
    """Threads this user has now: what the system's limit of processes, which is per user, already counts."""
    me, count = os.getuid(), 0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.uids().real == me:
                count += process.num_threads()
    return count


def _end_leftover(record: Path) -> None:
    """Kill what a dead worker's sandbox left running, wait until it is gone."""
    try:
        told = json.loads(record.read_text())
    except (OSError, ValueError):
        return
    found: list[psutil.Process] = []
    with suppress(psutil.Error):
        launcher = psutil.Process(told["pid"])
        if abs(launcher.create_time() - told["started"]) < 1:
            found = [*launcher.children(recursive=True), launcher]
    if told["uid"] is not None:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.uids().real == told["uid"]:
                    found.append(process)
    for process in found:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(found, timeout=5)
