"""Sandboxes with network access: out, but not to the host, the metadata service or each other."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator

import docker
import pytest

from tests.docker.conftest import EXEC, boot, probe
from tests.docker.gateways import gateway_of
from workers import firewall
from workers.drivers.docker import DockerDriver, DockerSandbox
from workers.drivers.docker.limits import EGRESS_NETWORK

CONNECT = """
import socket
def attempt(address):
    try:
        socket.create_connection((address, event["port"]), timeout=1).close()
    except OSError as error:
        return type(error).__name__
    return "connected"
result = {address: attempt(address) for address in event["addresses"]}
"""
ADDRESS = """
import fcntl, socket, struct
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    result = socket.inet_ntoa(fcntl.ioctl(one.fileno(), 0x8915, struct.pack("256s", b"eth0"))[20:24])
"""


@pytest.fixture(scope="module")
def outgoing(driver: DockerDriver) -> Iterator[DockerSandbox]:
    sandbox = boot(driver, EXEC, network="egress")
    yield sandbox
    sandbox.destroy()


def test_it_has_a_way_out(outgoing: DockerSandbox) -> None:
    assert set(probe(outgoing, "import os; result = os.listdir('/sys/class/net')")) == {"lo", "eth0"}
    routes = probe(outgoing, "result = open('/proc/net/route').read().splitlines()[1:]")
    assert any(line.split()[1] == "00000000" for line in routes)


def test_the_host_can_not_be_reached(outgoing: DockerSandbox, engine: docker.APIClient) -> None:
    if shutil.which("iptables") is None:
        pytest.skip("without iptables this can not be had")
    gateways = [gateway_of(engine, name) for name in ("bridge", EGRESS_NETWORK)]
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        for gateway in gateways:
            socket.create_connection((gateway, port), timeout=2).close()
        reached = probe(outgoing, CONNECT, addresses=gateways, port=port)
    assert set(reached.values()) == {"TimeoutError"}


def test_another_sandbox_can_not_be_reached(driver: DockerDriver, outgoing: DockerSandbox) -> None:
    other = boot(driver, EXEC, network="egress")
    listen = """
    import socket
    server = socket.create_server(("0.0.0.0", 0))
    import builtins
    builtins.kept = server
    result = server.getsockname()[1]
    """
    try:
        port, address = probe(other, listen), probe(other, ADDRESS)
        assert probe(other, CONNECT, addresses=[address], port=port) == {address: "connected"}
        assert probe(outgoing, CONNECT, addresses=[address], port=port) == {address: "TimeoutError"}
    finally:
        other.destroy()


def test_link_local_addresses_are_dropped_on_the_way(outgoing: DockerSandbox) -> None:
    if shutil.which("iptables") is None:
        pytest.skip("without iptables this can not be had")
    rule = ["iptables", "-w", "5", "-C", "DOCKER-USER", "-i", EGRESS_NETWORK, "-d", "169.254.0.0/16", "-j", "DROP"]
    assert subprocess.run(rule, capture_output=True, check=False).returncode == 0
    assert firewall.protect(EGRESS_NETWORK) == []


def test_it_is_contained_all_the_same(outgoing: DockerSandbox) -> None:
    status = probe(outgoing, "result = open('/proc/self/status').read()")
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert int(lines["CapBnd"], 16) == 0
    assert (lines["NoNewPrivs"], lines["Seccomp"]) == ("1", "2")


def test_what_can_not_be_closed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firewall.shutil, "which", lambda name: None)
    gaps = firewall.protect("some-bridge")
    assert len(gaps) == 2
    assert all("iptables is not installed" in gap for gap in gaps)


def _dropped(destination: str) -> int:
    """Packets that the rule for this destination has dropped so far."""
    listing = subprocess.run(
        ["iptables", "-w", "5", "-n", "-v", "-x", "-L", "DOCKER-USER"], capture_output=True, text=True, check=True
    )
    rules = [line.split() for line in listing.stdout.splitlines()]
    return sum(int(rule[0]) for rule in rules if destination in rule and EGRESS_NETWORK in rule and "DROP" in rule)


def test_the_metadata_service_can_not_be_reached(outgoing: DockerSandbox) -> None:
    if shutil.which("iptables") is None:
        pytest.skip("without iptables this can not be had")
    before = _dropped("169.254.0.0/16")
    reached = probe(outgoing, CONNECT, addresses=["169.254.169.254"], port=80)
    assert reached == {"169.254.169.254": "TimeoutError"}
    assert _dropped("169.254.0.0/16") > before, "it was not the rule that kept it from there"


@pytest.mark.parametrize("network", ["egress", "none"])
def test_the_hosts_loopback_can_not_be_reached(driver: DockerDriver, network: str) -> None:
    sandbox = boot(driver, EXEC, network=network)
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            reached = probe(sandbox, CONNECT, addresses=["127.0.0.1"], port=port)
        assert reached == {"127.0.0.1": "ConnectionRefusedError"}
    finally:
        sandbox.destroy()


def test_without_egress_there_is_no_way_out_at_all(
    driver: DockerDriver, outgoing: DockerSandbox, engine: docker.APIClient
) -> None:
    inside = boot(driver, EXEC)
    gateway = gateway_of(engine, EGRESS_NETWORK)
    addresses = [gateway, probe(outgoing, ADDRESS), "169.254.169.254", "1.1.1.1"]
    try:
        assert probe(inside, "import os; result = os.listdir('/sys/class/net')") == ["lo"]
        assert probe(inside, "result = open('/proc/net/route').read().splitlines()[1:]") == []
        # ENETUNREACH: refused by the sandbox's own kernel view, before any packet is made.
        assert set(probe(inside, CONNECT, addresses=addresses, port=80).values()) == {"OSError"}
    finally:
        inside.destroy()
