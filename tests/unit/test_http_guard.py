"""The guard at the door: which Hosts are served, which pages may post."""

from __future__ import annotations

import pytest

from nimbus_project.core.errors import Forbidden
from nimbus_project.core.http import LOOPBACK_HOSTS, guard, host_name

HOSTS = LOOPBACK_HOSTS | {"nimbus.example"}


def code_of(method: str = "POST", **headers: str) -> str:
    """The code of the refusal, "" when let in. Header names with _ for -."""
    raw = {name.replace("_", "-").encode(): value.encode("latin-1") for name, value in headers.items()}
    try:
        guard(method, raw, frozenset(HOSTS))
    except Forbidden as error:
        return error.error_code
    return ""


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "localhost:8080",
        "LOCALHOST:8080",
        "127.0.0.1",
        "127.0.0.1:9000",
        "[::1]",
        "[::1]:8080",
        "nimbus.example",
        "Nimbus.Example:443",
    ],
)
def test_own_names_are_served(host: str) -> None:
    assert code_of(host=host) == ""


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",  # a prefix is not the name
        "evil.localhost",
        "localhost@evil.example",
        "127.0.0.1.nip.io",
        "0.0.0.0",
        "[::1",
        "[",
        "[::ffff:127.0.0.1]",
        "localhost ",
        "localhost,evil.example",
        "\xff",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_foreign_names_are_not(method: str, host: str) -> None:
    assert code_of(method, host=host) == "host_not_allowed"


def test_no_host_at_all_is_foreign() -> None:
    assert code_of("GET") == "host_not_allowed"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, ""),  # not a browser
        ({"origin": "http://localhost:8080"}, ""),
        ({"origin": "https://localhost:8080"}, ""),  # behind something that ends TLS
        ({"origin": "HTTP://LOCALHOST:8080"}, ""),
        ({"origin": "http://localhost:8080", "sec_fetch_site": "same-origin"}, ""),
        ({"sec_fetch_site": "none"}, ""),  # typed in by the user
        ({"sec_fetch_site": "cross-site"}, "cross_site"),
        ({"sec_fetch_site": "same-site"}, "cross_site"),  # another port of localhost is another site's page too
        ({"origin": "null"}, "cross_site"),  # a sandboxed frame or a file
        ({"origin": ""}, "cross_site"),
        ({"origin": "http://localhost"}, "cross_site"),  # another port
        ({"origin": "http://localhost:8081"}, "cross_site"),
        ({"origin": "http://evil.example"}, "cross_site"),
        ({"origin": "http://evil.example/http://localhost:8080"}, "cross_site"),
        ({"origin": "http://localhost:8080@evil.example"}, "cross_site"),
        ({"origin": "http://["}, "cross_site"),  # what urlsplit raises on
        ({"origin": "http://[::1"}, "cross_site"),
        ({"origin": "\xff\xfe"}, "cross_site"),
        ({"origin": "http://evil.example", "sec_fetch_site": "same-origin"}, "cross_site"),
    ],
)
def test_who_may_change_something(headers: dict[str, str], code: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert code_of(method, host="localhost:8080", **headers) == code


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_is_left_to_the_browsers_own_rules(method: str) -> None:
    assert code_of(method, host="localhost", origin="http://evil.example", sec_fetch_site="cross-site") == ""


@pytest.mark.parametrize(
    ("host", "name"),
    [("a", "a"), ("a:1", "a"), ("a:", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("::1", ""), ("", "")],
)
def test_a_host_without_its_port(host: str, name: str) -> None:
    assert host_name(host) == name
