"""What goes out to addresses of users: only to the public, within its time, and to where it was looked up."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from nimbus_project.config import config
from nimbus_project.core import outgoing
from nimbus_project.core.outgoing import AddressRefused, Undeliverable, allowed, post, url_problem
from tests.receiver import Receiver, receiver


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("NIMBUS_OUTGOING_ALLOW", "127.0.0.1")
    config.cache_clear()
    with receiver() as there:
        yield there
    monkeypatch.undo()
    config.cache_clear()


def send(url: str, timeout_sec: float = 20.0) -> outgoing.Answer:
    return post(url, body=b"{}", headers={"Content-Type": "application/json"}, timeout_sec=timeout_sec)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1",
        "::127.0.0.1", "::a9fe:a9fe",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
        "2001:0:0:0:0:0:80ff:fffe", "192.0.2.1", "198.18.0.1", "2001:db8::1",
    ],
)  # fmt: skip
def test_only_public_addresses_are_open(address: str) -> None:
    assert not allowed(ip_address(address), ())


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_ones_are(address: str) -> None:
    assert allowed(ip_address(address), ())


def test_an_administrator_can_open_others() -> None:
    networks = (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    for address, is_open in (
        ("10.1.2.3", True),
        ("10.2.0.1", False),
        ("fd00::1", True),
        ("::ffff:10.1.0.1", True),
        ("::1", False),
    ):
        assert allowed(ip_address(address), networks) is is_open, address


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("", "begin with https"),
        ("ftp://example.org/", "begin with https"),
        ("file:///etc/passwd", "begin with https"),
        ("https://", "begin with https"),
        ("http://[::1", "not a URL"),
        ("http://exa mple.org", "not a URL"),
        ("https://user:pass@example.org/", "user name"),
        ("http://127.0.0.1/", "not a public address"),
        ("http://[::1]:80/", "not a public address"),
        ("http://[::1]:8080", "not a public address"),
        ("http://[::ffff:127.0.0.1]:8080/", "not a public address"),
        ("http://[fe80::1%25eth0]/", "not a URL"),
        ("http://[::1]x/", "not a URL"),
        ("https://example.org:99999/", "port from 1 to 65535"),
        ("https://example.org:65536", "port from 1 to 65535"),
        ("https://example.org:0/", "port from 1 to 65535"),
        ("http://[2606:4700::1111]:70000/", "port from 1 to 65535"),
        ("https://example.org:-1/", "port from 1 to 65535"),
        ("https://example.org:x/", "not a URL"),
        ("http://169.254.169.254/latest/meta-data", "not a public address"),
        ("https://example.org/" + "x" * 2048, "2048 characters"),
    ],
)
def test_urls_that_lead_nowhere(url: str, told: str) -> None:
    assert told in url_problem(url)


def test_urls_that_may_be_used() -> None:
    for url in (
        "https://example.org/hook?x=1",
        "http://example.org:8080",
        "https://bücher.example/",
        "http://[2606:4700::1111]:65535/x",
    ):
        assert url_problem(url) == ""


def test_what_was_sent_arrives(loopback: Receiver) -> None:
    loopback.answers = [204, 500]
    answer = send(f"{loopback.url}/a/b?c=d")
    assert (answer.status, answer.ok) == (204, True)
    assert send(loopback.url).ok is False
    got = loopback.received[0]
    assert (got.method, got.path, got.body) == ("POST", "/a/b?c=d", b"{}")
    assert got.headers["host"] == loopback.url.removeprefix("http://")
    assert got.headers["content-type"] == "application/json"


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    async def getaddrinfo(self: Any, host: str, port: int, **more: Any) -> list[Any]:
        kinds = [(socket.AF_INET6 if ":" in one else socket.AF_INET, one) for one in addresses]
        return [(kind, socket.SOCK_STREAM, 6, "", (one, port)) for kind, one in kinds]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)


def test_a_name_is_connected_to_where_it_was_looked_up(loopback: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nowhere else: of several addresses those that may not be used are passed over."""
    port = loopback.url.rpartition(":")[2]
    with monkeypatch.context() as patch:
        resolving_to(patch, "10.0.0.1", "127.0.0.1")
        assert send(f"http://hooks.example:{port}/x").ok
    assert loopback.received[0].headers["host"] == f"hooks.example:{port}"


@pytest.mark.parametrize("addresses", [("10.0.0.1",), ("::1", "169.254.169.254")])
def test_a_name_that_means_a_private_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    resolving_to(monkeypatch, *addresses)
    with pytest.raises(AddressRefused, match=r"hooks\.example is not a public address"):
        send("https://hooks.example/")


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "localhost"])
def test_other_spellings_of_loopback_are_seen_through(host: str) -> None:
    with pytest.raises(AddressRefused, match="not a public address"):
        send(f"http://{host}:1/")


def test_redirects_are_not_followed(loopback: Receiver) -> None:
    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("location", f"{loopback.url}/inside")
        handler.send_header("content-length", "0")
        handler.end_headers()

    loopback.answers = [elsewhere]
    answer = send(loopback.url)
    assert (answer.status, answer.ok) == (302, False)
    assert [got.path for got in loopback.received] == ["/"]


def test_who_drips_is_not_waited_for(loopback: Receiver) -> None:
    """Every single read is quick, the whole never ends: the one bound is on the whole."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(1200):
                handler.wfile.write(b"x")
                handler.wfile.flush()
                time.sleep(0.05)
        except OSError:
            return

    loopback.answers = [drip]
    with pytest.raises(Undeliverable, match="No answer within"):
        send(loopback.url, timeout_sec=0.5)


def test_of_an_endless_answer_the_beginning_is_read(loopback: Receiver) -> None:
    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"x" * 65536)
        except OSError:
            return

    loopback.answers = [flood]
    assert send(loopback.url).body == b"x" * outgoing.MAX_ANSWER_BYTES


def test_nobody_there_and_nonsense_are_told(loopback: Receiver) -> None:
    def nonsense(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"nonsense\r\n\r\n")

    loopback.answers = [nonsense]
    with pytest.raises(Undeliverable):
        send(loopback.url)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(Undeliverable, match="No connection"):
            send(f"http://127.0.0.1:{unused.getsockname()[1]}/")
