"""Builder containers: sources in by stdin, artifact out by stdout, the compiler's log by stderr. Nothing is mounted but
the operator's own folders of packages, read-only, where dependencies are fetched from them."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil
from docker.errors import ImageNotFound

from functions.spec import MAX_ARTIFACT_BYTES
from nimbus_project.config import MIB, Config
from workers.drivers.docker.baggage import Baggage
from workers.drivers.docker.engine import ENGINE_TIMEOUT_SEC, ENGINE_TROUBLE, connect
from workers.drivers.docker.limits import EGRESS_NETWORK, RUNNER_UID
from workers.drivers.docker.network import ensure_egress
from workers.indexes import index_environment
from workers.toolchain import BuildError, BuildJob, BuildResult, LineSink, builder_image, result_of, tar_of_sources

log = logging.getLogger("nimbus.builds")

BUILD_LABEL = "nimbus.build"
MAX_LOG_BYTES = 1 * MIB
_STDOUT, _STDERR = 1, 2
_HEADER = struct.Struct(">BxxxL")
"""Stream and size: how the engine tells the two streams of an attached container apart (Engine API, "Attach")."""


class DockerToolchains:
    """`workers.toolchain.Toolchains` on the engine."""

    def __init__(self, settings: Config, worker_name: str) -> None:
        """`worker_name` ends with ``-`` and the process's id. Raises SandboxError when the engine does not answer."""
        self._settings = settings
        self._worker = worker_name
        self._api = connect(ENGINE_TIMEOUT_SEC)
        self._guard = threading.Lock()
        self._running: set[str] = set()
        self._egress_ready = False
        self._sweep()

    def _sweep(self) -> None:
        """Remove the containers of this node's workers that are dead: a build of theirs is made anew."""
        with contextlib.suppress(*ENGINE_TROUBLE):
            labels = [BUILD_LABEL, f"nimbus.node={self._settings.node}"]
            for found in self._api.containers(all=True, filters={"label": labels}):
                pid = found["Labels"][BUILD_LABEL].rpartition("-")[2]
                if pid.isdigit() and not psutil.pid_exists(int(pid)):
                    self._remove(found["Id"])

    def image(self, toolchain: str) -> str:
        return self._settings.docker_image_prefix + builder_image(toolchain)

    def build(self, job: BuildJob, on_line: LineSink, deadline: float) -> BuildResult:
        """See `Toolchains.build`."""
        try:
            baggage = Baggage()
            environment = dict(job.settings)
            if job.network:
                environment |= index_environment(job.toolchain, self._settings, baggage)
            sources = tar_of_sources(job.files | baggage.files)
            with self._container(job, environment, baggage) as container:
                output = self._talk(container, sources, on_line, deadline)
                if output is None:
                    return BuildResult(artifact=None, error=f"The artifact is larger than {MAX_ARTIFACT_BYTES} bytes.")
                code = int(self._api.wait(container, timeout=30)["StatusCode"])
                killed = bool(self._api.inspect_container(container)["State"]["OOMKilled"])
        except ImageNotFound as error:
            raise BuildError(
                f"The image {self.image(job.toolchain)} is missing. Build it with: "
                f"python manage.py build_runtimes builder-{job.toolchain}"
            ) from error
        except TimeoutError:
            return BuildResult(artifact=None, error="The build took too long and was stopped.")
        except ENGINE_TROUBLE as error:
            raise BuildError(f"The Docker engine could not run the builder: {error}") from error
        if killed:
            return BuildResult(artifact=None, error=f"The build used more than {self._settings.build_memory_mb} MB.")
        return result_of(code, output)

    def close(self) -> None:
        """End what still runs."""
        with self._guard:
            running = list(self._running)
        for container in running:
            self._remove(container)
        self._api.close()

    @contextlib.contextmanager
    def _container(self, job: BuildJob, environment: dict[str, str], baggage: Baggage) -> Iterator[str]:
        made = self._api.create_container(
            self.image(job.toolchain),
            name=f"nimbus-build-{secrets.token_hex(6)}",
            hostname="builder",
            user=f"{RUNNER_UID}:{RUNNER_UID}",
            environment=environment,
            use_config_proxy=False,
            stdin_open=True,
            labels={BUILD_LABEL: self._worker, "nimbus.node": self._settings.node},
            host_config=self._api.create_host_config(**self._limits(job), mounts=baggage.mounts),
        )
        container: str = made["Id"]
        # As a client that hangs up once: the program's stdin then ends with what was sent.
        with self._guard:
            self._running.add(container)
        try:
            yield container
        finally:
            self._remove(container)

    def _limits(self, job: BuildJob) -> dict[str, Any]:
        memory = self._settings.build_memory_mb * MIB
        return {
            "mem_limit": memory,
            "memswap_limit": memory,
            "pids_limit": 512,
            # Invocations come first: this much of the default 1024 when both want the processors.
            "cpu_shares": 128,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "read_only": True,
            "tmpfs": {"/work": f"rw,exec,nosuid,nodev,size={self._settings.build_disk_mb}m,mode=1777"},
            "network_mode": self._network() if job.network else "none",
            "log_config": {"type": "none", "config": {}},
        }

    def _network(self) -> str:
        """Of a job that fetches dependencies: the world, unless the operator says otherwise without this machine."""
        if self._settings.build_network == "host":
            return "host"
        with self._guard:
            if not self._egress_ready:
                ensure_egress(self._api)
                self._egress_ready = True
        return EGRESS_NETWORK

    def _talk(self, container: str, stdin: bytes, on_line: LineSink, deadline: float) -> bytes | None:
        """Start, send the sources, read both streams to their end. None when the artifact is too large."""
        params = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        attached = self._api.attach_socket(container, params=params)
        connection: socket.socket = attached._sock
        try:
            self._api.start(container)
            sender = threading.Thread(target=_send, args=(connection, stdin), name="nimbus-build-in", daemon=True)
            sender.start()
            return _receive(connection, on_line, deadline)
        finally:
            # All three hold the descriptor.
            connection.close()
            attached._response.close()
            attached.close()

    def _remove(self, container: str) -> None:
        try:
            self._api.remove_container(container, force=True, v=True)
        except ENGINE_TROUBLE as error:
            log.warning("a builder's container stays until the next sweep: %s", error)
        with self._guard:
            self._running.discard(container)


def _send(connection: socket.socket, data: bytes) -> None:
    # The other end may close first: a builder that fails early reads nothing more.
    with contextlib.suppress(OSError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


def _receive(connection: socket.socket, on_line: LineSink, deadline: float) -> bytes | None:
    """The artifact; None when it is too large. Raises TimeoutError."""
    artifact, logged, pending = bytearray(), 0, b""
    while header := _exactly(connection, _HEADER.size, deadline):
        stream, size = _HEADER.unpack(header)
        data = _exactly(connection, size, deadline)
        if stream == _STDOUT:
            artifact += data
            if len(artifact) > MAX_ARTIFACT_BYTES:
                return None
        elif stream == _STDERR and logged < MAX_LOG_BYTES:
            logged += len(data)
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                on_line(line.decode(errors="replace"))
    if pending:
        on_line(pending.decode(errors="replace"))
    return bytes(artifact)


def _exactly(connection: socket.socket, size: int, deadline: float) -> bytes:
    """So many bytes, or none at the end of the stream. Raises TimeoutError."""
    data = bytearray()
    while len(data) < size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        chunk = connection.recv(min(size - len(data), 1 << 16))
        if not chunk:
            return b""
        data += chunk
    return bytes(data)
