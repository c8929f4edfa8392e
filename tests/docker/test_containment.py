"""What user code can not do from inside, each tried by user code in a real sandbox."""

from __future__ import annotations

import base64
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from invocations.outcome import ErrorType, Fault
from nimbus_project.config import MIB
from tests.docker.conftest import EXEC, boot, call, probe
from tests.docker.gateways import gateway_of
from workers.drivers.docker import DockerDriver, DockerSandbox

SECRET = "value-of-the-platform-only"

WALK = """
import base64, os, stat
def walk(*skipped):
    for folder, folders, files in os.walk("/", onerror=lambda error: None):
        folders[:] = [one for one in folders if os.path.join(folder, one) not in skipped]
        for name in files:
            path = os.path.join(folder, name)
            try:
                yield path, os.lstat(path)
            except OSError:
                pass
"""


@pytest.fixture(scope="module")
def inside(driver: DockerDriver) -> Iterator[DockerSandbox]:
    os.environ["NIMBUS_SECRET_KEY"] = SECRET
    sandbox = boot(driver, EXEC)
    del os.environ["NIMBUS_SECRET_KEY"]
    yield sandbox
    sandbox.destroy()


@pytest.fixture(scope="module")
def status(inside: DockerSandbox) -> dict[str, str]:
    """/proc/self/status."""
    return dict(line.split(":", 1) for line in probe(inside, "result = open('/proc/self/status').read()").splitlines())


@pytest.fixture(scope="module")
def host_port(engine: docker.APIClient) -> Iterator[tuple[list[str], int]]:
    """Addresses of this host on which a real server listens, and its port."""
    gateway = gateway_of(engine, "bridge")
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection((gateway, port), timeout=2).close()
        yield [gateway, "127.0.0.1"], port


CONNECT = """
import socket
def attempt(address, port):
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError as error:
        return type(error).__name__
    return "connected"
result = {address: attempt(address, event["port"]) for address in event["addresses"]}
"""


def test_no_interface_but_loopback(inside: DockerSandbox) -> None:
    assert probe(inside, "import os; result = os.listdir('/sys/class/net')") == ["lo"]


def test_connections_to_the_host_fail(inside: DockerSandbox, host_port: tuple[list[str], int]) -> None:
    addresses, port = host_port
    assert "connected" not in probe(inside, CONNECT, addresses=addresses, port=port).values()


def test_the_hosts_resolver_is_not_written_inside(inside: DockerSandbox) -> None:
    lines = probe(inside, "result = open('/etc/resolv.conf').read().splitlines()")
    assert [line for line in lines if line.startswith(("nameserver", "search", "domain"))] == ["nameserver 127.0.0.1"]


@pytest.mark.parametrize("name", ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"])
def test_no_capability(status: dict[str, str], name: str) -> None:
    assert int(status[name], 16) == 0


def test_no_new_privileges_and_seccomp_filter(status: dict[str, str]) -> None:
    assert int(status["NoNewPrivs"]) == 1
    assert int(status["Seccomp"]) == 2


def test_seccomp_refuses_a_namespace(inside: DockerSandbox) -> None:
    code = """
    import ctypes, errno
    libc = ctypes.CDLL(None, use_errno=True)
    CLONE_NEWUSER = 0x10000000
    result = [libc.unshare(CLONE_NEWUSER), errno.errorcode[ctypes.get_errno()]]
    """
    assert probe(inside, code) == [-1, "EPERM"]


def test_not_root(inside: DockerSandbox, status: dict[str, str]) -> None:
    assert set(status["Uid"].split()) == {"65532"}
    assert set(status["Gid"].split()) == {"65532"}
    code = """
    import os
    try:
        os.setuid(0)
        result = "root"
    except OSError as error:
        result = type(error).__name__
    """
    assert probe(inside, code) == "PermissionError"


def test_no_setuid_program(inside: DockerSandbox) -> None:
    assert probe(inside, WALK + "result = [p for p, s in walk('/proc', '/sys') if s.st_mode & 0o6000]") == []


def test_writing_fails_outside_of_the_tmpfs(inside: DockerSandbox) -> None:
    code = """
    import os
    result = []
    for folder in ["/", "/usr", "/usr/lib/python3.11", "/etc", "/opt/nimbus", "/run", "/run/nimbus", "/var", "/home",
                   "/root", "/sys", "/sys/fs/cgroup", "/proc/sys/kernel", "/dev"]:
        try:
            open(os.path.join(folder, "written"), "w").close()
            result.append(folder)
        except OSError:
            pass
    """
    assert probe(inside, code) == []


def test_nothing_is_writable_but_bounded_memory(inside: DockerSandbox) -> None:
    code = """
    import os
    tree = os.walk("/", onerror=lambda error: None)
    result = [folder for folder, _, _ in tree if not folder.startswith("/proc/") and os.access(folder, os.W_OK)]
    """
    assert set(probe(inside, code)) == {"/tmp", "/var/task", "/dev/shm", "/dev/mqueue"}
    mounts = [line.split() for line in probe(inside, "result = open('/proc/self/mounts').read()").splitlines()]
    kinds = {where: (kind, set(options.split(","))) for _, where, kind, options, *_ in mounts}
    for folder in ("/tmp", "/var/task"):
        kind, options = kinds[folder]
        assert kind == "tmpfs"
        assert {"nosuid", "nodev", "size=8192k"} <= options
    assert "ro" in kinds["/"][1]


def test_the_sockets_folder_is_read_only_and_holds_nothing_else(inside: DockerSandbox) -> None:
    code = "import os; result = [os.listdir('/run/nimbus'), bool(os.statvfs('/run/nimbus').f_flag & os.ST_RDONLY)]"
    names, read_only = probe(inside, code)
    assert set(names) <= {"runner.sock"}
    assert read_only


def test_no_socket_of_an_engine_or_of_anybody(inside: DockerSandbox) -> None:
    sockets = probe(inside, WALK + "result = [p for p, s in walk('/proc', '/sys') if stat.S_ISSOCK(s.st_mode)]")
    assert set(sockets) <= {"/run/nimbus/runner.sock"}
    paths = ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"]
    assert not any(probe(inside, "import os; result = [os.path.exists(p) for p in event['paths']]", paths=paths))


SEARCH = """
marker = base64.b64decode(event["reversed"])[::-1]
open("/tmp/found", "wb").write(marker)
def holds(path):
    try:
        with open(path, "rb") as file:
            return marker in file.read(4 * 1024 * 1024)
    except OSError:
        return False
result = [p for p, s in walk("/proc", "/sys", "/usr") if stat.S_ISREG(s.st_mode) and holds(p)]
os.unlink("/tmp/found")
"""
"""Searches for a marker that this sandbox's own code and event do not spell out; finds its own proof of searching."""


def test_no_other_functions_code(driver: DockerDriver, inside: DockerSandbox) -> None:
    marker = secrets.token_hex(16)
    other = boot(driver, f"MARK = '{marker}'\nopen('/tmp/m', 'w').write(MARK)\ndef handler(e, c): return MARK")
    try:
        assert call(other).output == f'"{marker}"'.encode()
        backwards = base64.b64encode(marker[::-1].encode()).decode()
        assert probe(inside, WALK + SEARCH, reversed=backwards) == ["/tmp/found"]
    finally:
        other.destroy()


def test_only_its_own_processes_are_seen(inside: DockerSandbox) -> None:
    code = """
    import os
    result = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            result.append(open(f"/proc/{pid}/comm").read().strip())
    """
    assert sorted(probe(inside, code)) == ["python3", "tini"]


DEVICES = """
kinds = {stat.S_IFBLK: "block", stat.S_IFCHR: "character"}
result = [(p, kinds[stat.S_IFMT(s.st_mode)]) for p, s in walk("/proc", "/sys") if stat.S_IFMT(s.st_mode) in kinds]
"""


def test_no_device_of_the_host(inside: DockerSandbox) -> None:
    found = probe(inside, WALK + DEVICES)
    harmless = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"}
    assert [path for path, kind in found if kind == "block"] == []
    assert "null" in {Path(path).name for path, _ in found} <= harmless
    mknod = """
    import os, stat
    try:
        os.mknod("/tmp/disk", stat.S_IFBLK | 0o666, os.makedev(8, 0))
        result = "made"
    except OSError as error:
        result = type(error).__name__
    """
    assert probe(inside, mknod) == "PermissionError"


def test_no_environment_of_the_platform(inside: DockerSandbox) -> None:
    code = """
    import os
    result = [dict(os.environ), [open(f"/proc/{pid}/environ").read() for pid in ("self", "1")]]
    """
    names, raw = probe(inside, code)
    assert set(names) <= {"PATH", "HOME", "HOSTNAME", "LANG", "LC_CTYPE", "TZ"}
    assert not any(SECRET in text for text in raw)
    assert {entry.split("=")[0] for entry in raw[1].split("\0") if entry.startswith("NIMBUS")} <= {"NIMBUS_SOCKET"}


def test_open_files_and_core_dumps_are_bounded(inside: DockerSandbox) -> None:
    code = """
    import resource
    result = [resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CORE)]
    """
    assert probe(inside, code) == [[1024, 1024], [0, 0]]


def test_memory_is_bounded_and_swap_is_none(driver: DockerDriver, engine: docker.APIClient) -> None:
    sandbox = boot(driver, "def handler(event, context):\n    return len(bytearray(event * 1024 * 1024))")
    assert call(sandbox, 60).output == str(60 * MIB).encode()
    limits = engine.inspect_container(sandbox.container.id)["HostConfig"]
    assert limits["Memory"] == limits["MemorySwap"] == 128 * MIB
    outcome = call(sandbox, 400)
    assert outcome.error_type == ErrorType.OUT_OF_MEMORY
    assert outcome.fault is Fault.FUNCTION
    assert "128 MB" in outcome.error
    assert not sandbox.alive
    sandbox.destroy()


def test_a_child_that_eats_memory_ends_its_own_sandbox_alone(driver: DockerDriver, inside: DockerSandbox) -> None:
    code = """
    import subprocess, sys, threading
    def handler(event, context):
        subprocess.run([sys.executable, "-c", "x = bytearray(400 * 1024 * 1024)"])
        threading.Event().wait()
    """
    sandbox = boot(driver, code)
    assert call(sandbox).error_type == ErrorType.OUT_OF_MEMORY
    assert probe(inside, "result = 1") == 1
    sandbox.destroy()


def test_processes_are_bounded_and_the_runner_lives_on(inside: DockerSandbox) -> None:
    code = """
    import os, signal
    children = []
    try:
        for _ in range(200):
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
        result = "unbounded"
    except OSError as error:
        result = [type(error).__name__, len(children)]
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    """
    kind, count = probe(inside, code)
    assert kind == "BlockingIOError"
    assert 16 <= count < 32
    assert probe(inside, "result = 1") == 1


def test_orphans_are_reaped(inside: DockerSandbox) -> None:
    code = """
    import os, time
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            if os.fork() == 0:
                os._exit(0)
            os._exit(0)
        os.waitpid(pid, 0)
    def zombies():
        states = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                states.append(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0])
            except OSError:
                pass
        return states.count("Z")
    deadline = time.monotonic() + 3
    while zombies() and time.monotonic() < deadline:
        time.sleep(0.01)
    result = zombies()
    """
    assert probe(inside, code) == 0


@pytest.mark.parametrize(("folder", "megabytes"), [("/tmp", 8), ("/var/task", 8), ("/dev/shm", 16)])
def test_scratch_space_is_bounded(inside: DockerSandbox, folder: str, megabytes: int) -> None:
    code = """
    import os
    path, written = event["folder"] + "/big", 0
    try:
        with open(path, "wb", buffering=0) as file:
            while written < 64 * 1024 * 1024:
                written += file.write(bytes(256 * 1024))
        result = ["unbounded", written]
    except OSError as error:
        result = [error.strerror, written]
    os.unlink(path)
    """
    error, written = probe(inside, code, folder=folder)
    assert error == "No space left on device"
    assert megabytes / 2 * MIB < written <= megabytes * MIB


def test_the_number_of_scratch_files_is_bounded(inside: DockerSandbox) -> None:
    code = """
    import os, shutil
    os.mkdir("/tmp/many")
    try:
        for count in range(40_000):
            os.close(os.open(f"/tmp/many/{count}", os.O_CREAT))
        result = "unbounded"
    except OSError as error:
        result = error.strerror
    shutil.rmtree("/tmp/many")
    """
    assert probe(inside, code) == "No space left on device"


def test_the_cpu_is_bounded(driver: DockerDriver, engine: docker.APIClient, inside: DockerSandbox) -> None:
    limits = engine.inspect_container(inside.container.id)["HostConfig"]
    assert limits["NanoCpus"] == 1_000_000_000
