"""Address lists of webhooks behind reverse proxies, on real sockets: the client's address is believed from proxies that
are configured, and from nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from nimbus_project.asgi import Entrance, django_application
from tests.integration.conftest import _entrance_with
from tests.integration.http_server import http_server
from tests.integration.plane import Api
from tests.integration.proxies import post, proxy
from tests.services import RedisServer

# Of 127.0.0.0/8, all of which is this machine.
EDGE, INNER, STRANGE = "127.0.3.1", "127.0.3.2", "127.0.4.1"
LISTED, UNLISTED = "127.0.9.9", "127.0.8.8"
ACCEPTED, REFUSED = 202, 403


@dataclass
class Scene:
    api: Api
    server: tuple[str, int]
    path: str

    def allow(self, *networks: str) -> None:
        answer = self.api.put("/functions/hook/webhook", {"ip_allow": list(networks)})
        assert answer.status_code == 200, answer.text


@pytest.fixture
def scene(redis_server: RedisServer, transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """A webhook for one address only, on a server that trusts proxies of 127.0.3.0/24."""
    with ExitStack() as stack:
        entrances = _entrance_with(monkeypatch, NIMBUS_TRUSTED_PROXIES="127.0.3.0/24")
        api = next(entrances)
        stack.callback(next, entrances, None)
        api.create("hook")
        assert api.put("/functions/hook/webhook", {"mode": "async", "ip_allow": [LISTED]}).status_code == 200
        key = api.post("/functions/hook/webhook/enable").json()["webhook_key"]
        server = stack.enter_context(http_server(Entrance(django_application)))
        yield Scene(api, ("127.0.0.1", server.port), f"/webhook/{key}")


def test_without_a_proxy_the_connection_counts(scene: Scene) -> None:
    port = scene.server[1]
    assert post(scene.path, port, source=LISTED) == ACCEPTED
    assert post(scene.path, port, source=UNLISTED) == REFUSED
    for name in ("X_Forwarded_For", "Forwarded", "X_Real_IP", "X_Client_IP", "True_Client_IP"):
        said = f"for={LISTED}" if name == "Forwarded" else LISTED
        assert post(scene.path, port, source=UNLISTED, **{name: said}) == REFUSED, name
    assert post(scene.path, port, source=LISTED, X_Forwarded_For=UNLISTED) == ACCEPTED


def test_behind_one_proxy(scene: Scene) -> None:
    with proxy(EDGE, scene.server) as port:
        assert post(scene.path, port, to=EDGE, source=LISTED) == ACCEPTED
        assert post(scene.path, port, to=EDGE, source=UNLISTED) == REFUSED
        for lie in (LISTED, f"{LISTED}, {LISTED}", f"{LISTED}, {EDGE}", f",{LISTED},", "garbage"):
            assert post(scene.path, port, to=EDGE, source=UNLISTED, X_Forwarded_For=lie) == REFUSED, lie
            assert post(scene.path, port, to=EDGE, source=LISTED, X_Forwarded_For=lie) == ACCEPTED, lie
        # What a client says in other headers is nobody's word.
        assert post(scene.path, port, to=EDGE, source=UNLISTED, Forwarded=f"for={LISTED}") == REFUSED


def test_behind_two_proxies(scene: Scene) -> None:
    with proxy(INNER, scene.server) as inner, proxy(EDGE, (INNER, inner)) as edge:
        assert post(scene.path, edge, to=EDGE, source=LISTED) == ACCEPTED
        assert post(scene.path, edge, to=EDGE, source=UNLISTED) == REFUSED
        assert post(scene.path, edge, to=EDGE, source=UNLISTED, X_Forwarded_For=LISTED) == REFUSED
        scene.allow(EDGE, INNER)
        assert post(scene.path, edge, to=EDGE, source=UNLISTED) == REFUSED, "the proxies are not who asks"


def test_a_proxy_that_is_not_trusted_is_the_client(scene: Scene) -> None:
    with proxy(STRANGE, scene.server) as strange:
        assert post(scene.path, strange, to=STRANGE, source=LISTED) == REFUSED
    with proxy(EDGE, scene.server) as edge, proxy(STRANGE, (EDGE, edge)) as strange:
        assert post(scene.path, strange, to=STRANGE, source=LISTED) == REFUSED, "its word goes no further"
        scene.allow(STRANGE)
        assert post(scene.path, strange, to=STRANGE, source=UNLISTED) == ACCEPTED


def test_proxies_that_say_ports(scene: Scene) -> None:
    with proxy(EDGE, scene.server, says_port=True) as port:
        assert post(scene.path, port, to=EDGE, source=LISTED) == ACCEPTED
        assert post(scene.path, port, to=EDGE, source=UNLISTED) == REFUSED


@pytest.mark.parametrize("says_port", [False, True])
def test_clients_with_ipv6(scene: Scene, says_port: bool) -> None:
    if not _has_ipv6():
        pytest.skip("no IPv6 on the loopback")
    with proxy("::1", scene.server, source=EDGE, says_port=says_port) as port:
        assert post(scene.path, port, to="::1") == REFUSED
        scene.allow("::1/128")
        assert post(scene.path, port, to="::1") == ACCEPTED
        scene.allow("2001:db8::/32")
        assert post(scene.path, port, to="::1", X_Forwarded_For="2001:db8::1") == REFUSED


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
