"""DockerDriver: makes sandboxes, sweeps what dead workers left, ends its own.

Per worker a locked directory, per sandbox a directory in it with one socket, which the container sees read-only.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
from docker.errors import APIError, ImageNotFound, NotFound

from functions.runtimes import Runtime
from nimbus_project.config import Config, config
from workers.doorway import Doorway
from workers.drivers.docker.container import Container
from workers.drivers.docker.engine import ENGINE_TIMEOUT_SEC, ENGINE_TROUBLE, connect
from workers.drivers.docker.limits import RUNNER_UID, SOCKET_FOLDER, SOCKET_NAME, container_limits
from workers.drivers.docker.memory_watch import MemoryWatch
from workers.drivers.docker.network import ensure_egress
from workers.frames import FrameStream
from workers.link import Death, Limits, LinkedSandbox, Shelf
from workers.liveness import WorkerLock, bury, dead_workers, is_alive
from workers.sandbox import SandboxError, Stage

logger = logging.getLogger(__name__)

KIND = "docker"
"""Of this driver's directories below `var_dir`/run."""
SANDBOX_LABEL = "nimbus.sandbox"
REAPERS = 4
"""Containers killed and removed at once."""
KILL_WAIT_SEC = 15.0
LEFT_BEHIND = timedelta(minutes=5)
"""A stopped sandbox of another installation, this old, is nobody's: its owner would have removed it at once."""


class DockerDriver:
    """A `workers.sandbox.SandboxDriver` on the local Docker engine. Thread-safe."""

    name = "docker"

    def __init__(self, settings: Config | None = None, stage: Stage | None = None) -> None:
        """Raises SandboxError when the engine does not answer."""
        self._settings = settings or config()
        self._stage = stage
        self._api = connect(ENGINE_TIMEOUT_SEC)
        self._lock = WorkerLock(self._settings.var_dir.resolve() / "run", KIND)
        self._watch = MemoryWatch(f"nimbus.worker={self._lock.name}", self._out_of_memory)
        self._guard = threading.Lock()
        self._reapers = ThreadPoolExecutor(REAPERS, thread_name_prefix="nimbus-reap")
        self._containers: dict[str, Container | None] = {}
        """By the sandbox's name, from before it is made until it is removed."""
        self._sandboxes: dict[str, DockerSandbox] = {}
        self._closed = False
        self._egress_ready = False

    @property
    def worker_directory(self) -> Path:
        """This worker's own, below `var_dir`/run; there while it has made a sandbox and is not closed."""
        return self._lock.directory

    # -- the SandboxDriver interface

    def create(self, runtime: Runtime, *, memory_mb: int, network: str = "none", deadline: float) -> DockerSandbox:
        """See `SandboxDriver.create`."""
        name = f"nimbus-{secrets.token_hex(6)}"
        folder = self._enter(name)
        try:
            with Doorway(folder / SOCKET_NAME, mode=0o666) as doorway:
                container = self._start(runtime, name, folder, memory_mb, network)
                try:
                    stream, _ = doorway.admit(deadline, container.gone)
                except SandboxError:
                    container.end()
                    raise
        except (SandboxError, *ENGINE_TROUBLE) as error:
            self._abandon(name, folder)
            raise _explained(error, runtime) from error
        limits = Limits(result_bytes=self._settings.max_result_bytes, log_bytes=self._settings.max_log_bytes)
        sandbox = DockerSandbox(
            container,
            stream,
            runtime=runtime.name,
            memory_mb=memory_mb,
            network=network,
            limits=limits,
            shelf=Shelf(stage=self._stage, folder=folder, inside=SOCKET_FOLDER) if self._stage else None,
        )
        with self._guard:
            self._sandboxes[name] = sandbox
        if self._closed:
            sandbox.destroy()
            raise SandboxError("The worker is stopping.")
        return sandbox

    def available(self, runtime: Runtime) -> str | None:
        """See `SandboxDriver.available`."""
        image = self._image(runtime)
        try:
            self._api.inspect_image(image)
        except ImageNotFound:
            return f"The image {image} is missing. Build it with: {_build_command(runtime)}"
        except ENGINE_TROUBLE as error:
            return f"The Docker engine does not answer ({error}). Start it."
        return None

    def sweep(self) -> int:
        """See `SandboxDriver.sweep`. Leaves alone what a living worker owns and what is not Nimbus's."""
        try:
            found = self._api.containers(all=True, filters={"label": SANDBOX_LABEL})
            removed = sum(self._remove(one["Id"]) for one in found if self._is_orphan(one))
        except ENGINE_TROUBLE as error:
            raise SandboxError(f"The Docker engine could not be swept: {error}") from error
        for directory in dead_workers(self._lock.run_dir, KIND):
            bury(directory)
        return removed

    def close(self) -> None:
        """See `SandboxDriver.close`. Waits until everything is removed. Idempotent."""
        with self._guard:
            self._closed = True
            sandboxes = list(self._sandboxes.values())
            containers = [one for one in self._containers.values() if one is not None]
        with ThreadPoolExecutor(REAPERS, thread_name_prefix="nimbus-close") as closers:
            for _ in closers.map(DockerSandbox.destroy, sandboxes):
                pass
        for future in [container.end() for container in containers]:
            future.result()
        self._watch.close()
        self._reapers.shutdown(wait=True)
        self._lock.release()
        self._api.close()

    # -- making one

    def _image(self, runtime: Runtime) -> str:
        return self._settings.docker_image_prefix + runtime.image

    def _enter(self, name: str) -> Path:
        """Take note of a sandbox to be and make its directory. Raises SandboxError."""
        with self._guard:
            if self._closed:
                raise SandboxError("The worker is stopping.")
            try:
                folder = self._lock.acquire().directory / name
                folder.mkdir()
                folder.chmod(0o755)  # the runner is another user; the worker's directory above is closed to all
            except OSError as error:
                raise SandboxError(f"No directory for a sandbox's socket: {error}") from error
            self._containers[name] = None
            self._watch.start()
        return folder

    def _start(self, runtime: Runtime, name: str, folder: Path, memory_mb: int, network: str) -> Container:
        if network == "egress":
            self._ensure_egress()
        labels = {
            SANDBOX_LABEL: name,
            "nimbus.node": self._settings.node,
            "nimbus.run": str(self._lock.run_dir),
            "nimbus.worker": self._lock.name,
            "nimbus.runtime": runtime.name,
        }
        made = self._api.create_container(
            self._image(runtime), name=name, hostname="sandbox", labels=labels, user=f"{RUNNER_UID}:{RUNNER_UID}",
            environment={"NIMBUS_SOCKET": f"{SOCKET_FOLDER}/{SOCKET_NAME}"}, use_config_proxy=False,
            host_config=self._api.create_host_config(**container_limits(self._settings, memory_mb, network, folder)),
        )  # fmt: skip
        container = Container(self._api, self._reapers, made["Id"], name, folder, self._forget)
        with self._guard:
            self._containers[name] = container
        try:
            self._api.start(container.id)
        except ENGINE_TROUBLE:
            container.end()
            raise
        return container

    def _abandon(self, name: str, folder: Path) -> None:
        """Forget a sandbox that never came to be; one with a container is forgotten when that is removed."""
        with self._guard:
            if self._containers.get(name) is None:
                self._containers.pop(name, None)
                shutil.rmtree(folder, ignore_errors=True)

    def _forget(self, name: str) -> None:
        with self._guard:
            self._containers.pop(name, None)
            self._sandboxes.pop(name, None)

    def _out_of_memory(self, id: str) -> None:
        with self._guard:
            found = [one for one in self._containers.values() if one is not None and one.id == id]
        for container in found:
            container.ran_out_of_memory()

    def _ensure_egress(self) -> None:
        """The bridge for sandboxes that may reach out, and its rules: once."""
        with self._guard:
            if self._egress_ready:
                return
            ensure_egress(self._api)
            self._egress_ready = True

    # -- sweeping

    def _is_orphan(self, found: dict[str, Any]) -> bool:
        labels = found["Labels"]
        ours = labels.get("nimbus.run") == str(self._lock.run_dir) and labels.get("nimbus.node") == self._settings.node
        if not ours:
            return found["State"] == "exited" and self._ended_long_ago(found["Id"])
        if labels.get("nimbus.worker") == self._lock.name:
            with self._guard:
                return labels[SANDBOX_LABEL] not in self._containers
        return not is_alive(self._lock.run_dir / str(labels.get("nimbus.worker")))

    def _ended_long_ago(self, container: str) -> bool:
        try:
            finished = str(self._api.inspect_container(container)["State"]["FinishedAt"])
        except NotFound:
            return False
        return datetime.now(UTC) - datetime.fromisoformat(finished[:19] + "+00:00") > LEFT_BEHIND

    def _remove(self, container: str) -> bool:
        try:
            self._api.remove_container(container, force=True, v=True)
        except APIError as error:
            if error.status_code in {requests.codes.not_found, requests.codes.conflict}:
                return False  # another sweeper was quicker
            raise
        return True


class DockerSandbox(LinkedSandbox):
    """One container whose runner is connected."""

    def __init__(
        self,
        container: Container,
        stream: FrameStream,
        *,
        runtime: str,
        memory_mb: int,
        network: str,
        limits: Limits,
        shelf: Shelf | None = None,
    ) -> None:
        super().__init__(
            stream,
            id=container.name,
            runtime=runtime,
            memory_mb=memory_mb,
            network=network,
            limits=limits,
            shelf=shelf,
        )
        self.container = container

    def _kill(self) -> None:
        self.container.end()

    def _post_mortem(self) -> Death:
        return self.container.death()

    def _fit(self, memory_mb: int) -> None:
        self.container.fit(memory_mb)

    def _cleanup(self) -> None:
        if not self.container.stopped.wait(KILL_WAIT_SEC):
            logger.error("container %s did not stop within %s s", self.id, KILL_WAIT_SEC)


def _explained(error: Exception, runtime: Runtime) -> SandboxError:
    if isinstance(error, SandboxError):
        return error
    if isinstance(error, ImageNotFound):
        return SandboxError(f"The image of {runtime.title} is missing. Build it with: {_build_command(runtime)}")
    return SandboxError(f"The Docker engine could not start a sandbox: {error}")


def _build_command(runtime: Runtime) -> str:
    return f"python manage.py build_runtimes {runtime.name}"
