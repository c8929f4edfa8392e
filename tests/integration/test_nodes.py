"""Calls between nodes: over TCP with certificates on both sides, made as docs/nodes.md says, and not a byte to anybody
else."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nimbus_project.config import ROOT, Config
from nimbus_project.core import wire
from tests.integration.lanes import LaneWorker, message, open_web, open_worker
from tests.integration.test_direct_lane import value
from tests.requirements import require

BLOCKS = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Authority:
    """An authority of its own and a certificate for one node, by the commands that the documentation shows."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        text = (ROOT / "docs/nodes.md").read_text()
        commands = [block for block in BLOCKS.findall(text) if "openssl" in block]
        assert len(commands) == 2, "the authority, and a node"
        for command in commands:
            subprocess.run(["sh", "-ec", command], cwd=folder, check=True, capture_output=True, timeout=60)

    @property
    def settings(self) -> dict[str, Any]:
        names = {"ca": "ca.pem", "cert": "node-1.pem", "key": "node-1.key"}
        return {f"direct_tls_{what}": self.folder / name for what, name in names.items()}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    require("openssl", None if shutil.which("openssl") else "no openssl")
    return Authority(tmp_path_factory.mktemp("ours") / "ca")


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("theirs") / "ca")


@pytest.fixture(scope="module")
def lane_worker(
    ours: Authority,
    redis_server: Any,
    django_db_setup: None,
    django_db_blocker: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LaneWorker]:
    folder = tmp_path_factory.mktemp("node")
    listening: dict[str, Any] = {"direct_listen": "0.0.0.0:0", "direct_advertise": "127.0.0.1"}
    with django_db_blocker.unblock(), open_worker(folder, **listening, **ours.settings) as opened:
        yield opened


@pytest.fixture
def worker(lane_worker: LaneWorker, transactional_db: None) -> LaneWorker:
    return lane_worker


def elsewhere(tmp_path: Path, **settings: Any) -> Config:
    return Config(node="elsewhere", var_dir=tmp_path, **settings)


def address(worker: LaneWorker) -> tuple[str, int]:
    host, _, port = worker.state.direct["tcp"].rpartition(":")
    return host, int(port)


def test_a_call_from_another_node(worker: LaneWorker, ours: Authority, tmp_path: Path) -> None:
    assert address(worker)[0] == "127.0.0.1", "what is announced can be called"
    spec = worker.add()
    large = b'"%s"' % (b"x" * 3_000_000)
    with open_web(elsewhere(tmp_path, **ours.settings), worker.state) as web:
        (link,) = web.lane._links.values()
        assert link._transport.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert value(web.call(message(spec), b"[1]")) == [1]
        answers = web.calls([(message(spec), b"%d" % number) for number in range(50)])
        assert [value(answer) for answer in answers] == list(range(50))
        assert (web.call(message(spec), large) or pytest.fail("nobody took it")).output == large


def test_without_certificates_other_nodes_are_not_called(worker: LaneWorker, tmp_path: Path) -> None:
    spec = worker.add()
    with open_web(elsewhere(tmp_path), worker.state) as web:
        assert web.call(message(spec)) is None, "it goes by the queue"


def test_who_has_a_certificate_of_another_authority_is_not_let_in(
    worker: LaneWorker, ours: Authority, strangers: Authority, tmp_path: Path
) -> None:
    spec = worker.add()
    theirs = strangers.settings
    # Also one that believes the worker, and only shows the wrong certificate itself.
    for settings in (theirs, theirs | {"direct_tls_ca": ours.settings["direct_tls_ca"]}):
        with open_web(elsewhere(tmp_path, **settings), worker.state) as web:
            assert web.call(message(spec)) is None, "it goes by the queue"
    assert not [one for one in worker.loaded if one.startswith(spec.function_id)], "nothing has run"


@pytest.mark.parametrize("how", ["plain", "without a certificate"])
def test_who_shows_none_hears_nothing(worker: LaneWorker, how: str) -> None:
    spec = worker.add()
    call = wire.encode(wire.CALL, 1, message(spec).to_head(), b"{}")
    with socket.create_connection(address(worker), timeout=30) as caller:
        said = b""
        try:
            if how == "plain":
                caller.sendall(call)
                said = caller.recv(1024)
            else:
                unproven = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                unproven.check_hostname, unproven.verify_mode = False, ssl.CERT_NONE
                with unproven.wrap_socket(caller) as wrapped:
                    wrapped.sendall(call)
                    said = wrapped.recv(1024)
        except OSError:
            pass
    assert b"protocol" not in said, "the worker's greeting"
    assert not [one for one in worker.loaded if one.startswith(spec.function_id)], "nothing has run"


def test_an_old_version_of_tls_is_refused(worker: LaneWorker, ours: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(ours.settings["direct_tls_cert"], ours.settings["direct_tls_key"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(address(worker), timeout=30) as caller,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(caller)
