"""The parts of the platform: their commands, and how each is ended. Pure."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from nimbus_project.config import ROOT, Config
from nimbus_project.supervisor.redis_server import redis_command

STOP_MARGIN_SEC = 15.0
"""On top of a part's own grace: for removing sandboxes, closing connections, a busy machine."""
WEB_GRACE_SEC = 10
_NO_ROOT_SERMON = "ignore:You're running the worker with superuser privileges"
"""Celery's, which is about pickled messages; Nimbus takes JSON only."""


class Stage(IntEnum):
    """The order of the end: who takes work in goes first, what the others need last."""

    INTAKE = 0
    WORK = 1
    GROUND = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process to run."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    """Beside the supervisor's own environment."""
    fds: tuple[int, ...] = ()
    stage: Stage = Stage.INTAKE
    stop_sec: float = STOP_MARGIN_SEC
    """How long it may take to end before it is killed."""
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends it when the supervisor itself dies."""
    is_lasting: bool = True
    """Started again when it ends; else it has something to do and is done."""
    is_quiet: bool = False
    """Its output is kept, and shown only when it ends unasked."""
    has_terminal: bool = False
    """Writes to the supervisor's own output, for progress bars."""


def redis(program: Path, socket: Path) -> Part:
    return Part(
        name="redis",
        command=tuple(redis_command(program, socket)),
        stage=Stage.GROUND,
        is_quiet=True,
        # So that it takes its socket away.
        death_signal=signal.SIGTERM,
    )


def web(number: int, listener: int, env: dict[str, str]) -> Part:
    """A web process on a listening socket that the supervisor holds: callers wait while it is started again."""
    command = [sys.executable, "-m", "nimbus_project.serve", "--fd", str(listener), "--grace-sec", str(WEB_GRACE_SEC)]
    return Part(
        name=f"web-{number}",
        command=tuple(command),
        env=env,
        fds=(listener,),
        stop_sec=WEB_GRACE_SEC + STOP_MARGIN_SEC,
    )


def worker(number: int, unique: int, settings: Config, env: dict[str, str]) -> Part:
    """All queues: those that `core/queue.py` lists, in its order."""
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "workers.celery", "worker", "--pool", "threads"]
    command += ["-c", str(settings.worker_threads), "-n", f"nimbus-{unique}-{number}@%h"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING"]
    return Part(
        name=f"worker-{number}",
        command=tuple(command),
        env={"PYTHONWARNINGS": _NO_ROOT_SERMON, **env},
        stage=Stage.WORK,
        stop_sec=settings.drain_grace_sec + STOP_MARGIN_SEC,
    )


def beat() -> Part:
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "workers.celery", "beat", "--pidfile=", "-l", "WARNING"]
    command += ["--scheduler", "workers.beat:BeatScheduler"]
    return Part(name="beat", command=tuple(command))


def migrate() -> Part:
    return _manage("database", "migrate", "--noinput", "-v", "0")


def build_images(names: list[str], *, in_background: bool) -> Part:
    return _manage("images", "build_runtimes", *names, has_terminal=not in_background)


def sandboxes(order: str, env: dict[str, str] | None = None) -> Part:
    """`probe`: which driver, which images are missing. `sweep`: remove what dead workers left."""
    command = (sys.executable, "-m", "nimbus_project.supervisor.sandboxes", order)
    return Part(name="sandboxes", command=command, env=env or {}, is_lasting=False)


def _manage(name: str, *arguments: str, has_terminal: bool = False) -> Part:
    command = (sys.executable, str(ROOT / "manage.py"), *arguments)
    return Part(name=name, command=command, is_lasting=False, has_terminal=has_terminal)
