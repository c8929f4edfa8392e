"""Builder containers that fetch packages: what they reach, what they are given, what they leave."""

from __future__ import annotations

import io
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import docker
import pytest

from nimbus_project.config import MIB, Config
from tests.projects import zip_of
from workers.drivers.docker import DockerImages
from workers.drivers.docker.builds import BUILD_LABEL, DockerToolchains
from workers.images import build_runtimes
from workers.toolchain import BuildJob, BuildResult

WORKER = "test-builders"


@pytest.fixture(scope="module", autouse=True)
def _image(engine: docker.APIClient) -> Iterator[None]:
    build_runtimes(["builder-python"], DockerImages())
    yield
    assert engine.containers(all=True, filters={"label": f"{BUILD_LABEL}={WORKER}"}) == []


class Index:
    """A package index on this machine, for those who reach it."""

    def __init__(self) -> None:
        asked = self.asked = []  # type: list[str]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_error(404)

            def log_message(self, format: str, *values: object) -> None:
                """Not on the terminal."""

        self.server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """By the address that this machine has for others."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))
            return f"http://{probe.getsockname()[0]}:{self.server.server_port}/simple"


@pytest.fixture
def index() -> Iterator[Index]:
    made = Index()
    yield made
    made.server.shutdown()
    made.server.server_close()


def build(requirements: str, settings: Config, lines: list[str]) -> BuildResult:
    toolchains = DockerToolchains(settings, WORKER)
    try:
        job = BuildJob(toolchain="python", files={"requirements.txt": requirements.encode()}, network=True)
        return toolchains.build(job, lines.append, time.monotonic() + 60)
    finally:
        toolchains.close()


@pytest.mark.parametrize("network", ["egress", "host"])
def test_this_machines_own_addresses_are_out_of_reach(
    index: Index, tmp_path: Path, network: Literal["egress", "host"]
) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nindex-url = {index.url}\ntrusted-host = *\nretries = 0\ntimeout = 2\n")
    lines: list[str] = []
    result = build("anything==1\n", Config(pip_config_file=config, build_network=network), lines)
    assert result.artifact is None
    assert "anything" in "\n".join(lines)
    # With the host's own network it is reached: else the first half of this test would prove nothing.
    assert bool(index.asked) == (network == "host")


def wheel(name: str, files: dict[str, str]) -> bytes:
    info = f"{name}-1.0.dist-info"
    more = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}={name}:main\n",
        f"{info}/RECORD": "",
    }
    return zip_of({**files, **more})


@pytest.fixture
def local(tmp_path: Path) -> Config:
    """An operator whose packages lie in a folder of this machine."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / "spam-1.0-py3-none-any.whl").write_bytes(wheel("spam", {"spam.py": "def main():\n    return 1\n"}))
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nno-index = true\nfind-links = {folder}\n")
    return Config(pip_config_file=config)


def test_the_same_lists_make_the_same_bytes(local: Config) -> None:
    lines: list[str] = []
    first, second = build("spam\n", local, lines), build("spam\n", local, lines)
    assert first.artifact is not None, "\n".join(lines)
    assert first.artifact == second.artifact
    with tarfile.open(fileobj=io.BytesIO(first.artifact)) as tar:
        names = {entry.name: entry for entry in tar.getmembers()}
    assert {"python/spam.py", "python/__pycache__/spam.cpython-311.pyc"} <= set(names)
    # Neither scripts nor what the operator has set up.
    assert not [name for name in names if name.startswith("python/bin") or "nimbus" in name]
    assert {(entry.uid, entry.mtime) for entry in names.values()} == {(0, 0)}


def test_nothing_else_is_installed_from(local: Config) -> None:
    lines: list[str] = []
    assert build("Jinja2\n", local, lines).artifact is None
    assert "No matching distribution found for Jinja2" in "\n".join(lines)


def test_a_builder_is_shut_in(engine: docker.APIClient, tmp_path: Path) -> None:
    """As long as nothing has to be fetched: no network, no right, no more than its share."""
    toolchains = DockerToolchains(Config(build_memory_mb=512, build_disk_mb=128), WORKER)
    job = BuildJob(toolchain="python", files={"requirements.txt": b"anything==1\n"})
    seen: dict[str, Any] = {}

    def look(line: str) -> None:
        for found in engine.containers(filters={"label": f"{BUILD_LABEL}={WORKER}"}):
            seen.update(engine.inspect_container(found["Id"]))

    try:
        assert toolchains.build(job, look, time.monotonic() + 60).artifact is None
    finally:
        toolchains.close()
    host = seen["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["CapDrop"] == ["ALL"] and host["ReadonlyRootfs"] and host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Memory"] == host["MemorySwap"] == 512 * MIB
    assert "size=128m" in host["Tmpfs"]["/work"]
    assert host["CpuShares"] < 1024 and host["PidsLimit"] == 512
    assert (seen["Mounts"], seen["Config"]["User"]) == ([], "65532:65532")
    assert not [name for name in seen["Config"]["Env"] if name.startswith(("PIP_", "http", "DATABASE"))]
