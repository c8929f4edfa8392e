"""API keys as text, and whose addresses are believed."""

from __future__ import annotations

import os
from ipaddress import ip_network

import pytest

from accounts import keys
from accounts.addresses import client_address, is_loopback, was_forwarded, was_over_tls
from accounts.authentication import credential

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("::1/128"))


def test_a_key_is_read_back_as_it_was_made() -> None:
    made = keys.make(os.urandom(keys.CHANCE_BYTES))
    assert keys.parse(str(made)) == made
    assert str(made).startswith("nmb_") and len(str(made)) == 4 + 10 + 1 + 43
    assert made.secret not in repr(made)


def test_every_bit_of_chance_is_in_the_secret() -> None:
    one, other = bytes(keys.CHANCE_BYTES), bytes(8) + b"\x80" + bytes(31)
    assert keys.make(one).secret != keys.make(other).secret
    with pytest.raises(ValueError, match="random bytes"):
        keys.make(bytes(keys.CHANCE_BYTES - 1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nmb_",
        "nmb_0123456789_",
        "nmb_0123456789_" + "a" * 42,
        "nmb_0123456789_" + "a" * 44,
        "nmb_012345678_" + "a" * 43,
        "NMB_0123456789_" + "a" * 43,
        "nmb_0123456789_" + "a" * 42 + "-",
        "nmb_0123456789_" + "a" * 43 + "\n",
        "nmb_012345678é_" + "a" * 43,
    ],
)
def test_no_key(text: str) -> None:
    assert keys.parse(text) is None


def test_only_the_secret_itself_matches() -> None:
    made = keys.make(os.urandom(keys.CHANCE_BYTES))
    stored = keys.digest(made.secret)
    assert keys.matches(made.secret, stored)
    assert not keys.matches(made.secret[:-1] + ("a" if made.secret[-1] != "a" else "b"), stored)
    assert made.secret not in stored


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, ""),
        ({b"authorization": b"Bearer nmb_x"}, "nmb_x"),
        ({b"authorization": b"bearer  nmb_x "}, "nmb_x"),
        ({b"authorization": b"Bearer "}, "-"),
        ({b"authorization": b"Basic abc"}, ""),
        ({b"authorization": b"Basic abc", b"x-api-key": b"nmb_y"}, "nmb_y"),
        ({b"x-api-key": b"nmb_y"}, "nmb_y"),
        ({b"x-api-key": b""}, "-"),
        ({b"authorization": b"Bearer nmb_x", b"x-api-key": b"nmb_y"}, "nmb_x"),
    ],
)
def test_where_a_key_is_looked_for(headers: dict[bytes, bytes], found: str) -> None:
    assert credential(headers) == found


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "203.0.113.9", "192.0.2.1"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("10.1.2.3", "203.0.113.9", "203.0.113.9"),
        ("10.1.2.3", "127.0.0.1, 203.0.113.9, 10.9.9.9", "203.0.113.9"),
        ("10.1.2.3", "203.0.113.9, garbage", "10.1.2.3"),
        ("10.1.2.3", "::ffff:203.0.113.9", "203.0.113.9"),
        ("::1", "2001:db8::1", "2001:db8::1"),
        ("", "203.0.113.9", ""),
        ("10.1.2.3", "203.0.113.9:4711", "203.0.113.9"),
        ("10.1.2.3", "[2001:db8::1]:4711, 10.9.9.9:80", "2001:db8::1"),
        ("10.1.2.3", "[2001:db8::1]", "2001:db8::1"),
        ("10.1.2.3", "[2001:db8::1", "10.1.2.3"),
        ("10.1.2.3", "203.0.113.9:", "203.0.113.9"),
        ("10.1.2.3", ":203.0.113.9", "10.1.2.3"),
    ],
)
def test_the_address_that_is_believed(peer: str, forwarded: str, expected: str) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    assert client_address(peer, headers, TRUSTED) == expected


def test_several_headers_are_one_list() -> None:
    headers = [(b"x-forwarded-for", b"198.51.100.1"), (b"x-forwarded-for", b"203.0.113.9")]
    assert client_address("10.0.0.1", headers, TRUSTED) == "203.0.113.9"
    assert client_address("10.0.0.1", headers, ()) == "10.0.0.1"


def test_loopback_and_proxies() -> None:
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("127.8.8.8")
    assert is_loopback("::ffff:127.0.0.1")
    assert not is_loopback("10.0.0.1") and not is_loopback("") and not is_loopback("localhost")
    assert was_forwarded([(b"forwarded", b"for=1.2.3.4")]) and not was_forwarded([(b"host", b"x")])


@pytest.mark.parametrize(
    ("peer", "stated", "expected"),
    [
        ("10.0.0.1", [b"https"], True),
        ("10.0.0.1", [b" HTTPS "], True),
        ("10.0.0.1", [b"http"], False),
        ("10.0.0.1", [], False),
        # What the client wrote stands before what the proxy did.
        ("10.0.0.1", [b"https", b"http"], False),
        ("10.0.0.1", [b"https, http"], False),
        ("10.0.0.1", [b"http, https"], True),
        ("203.0.113.9", [b"https"], False),
    ],
)
def test_what_a_proxy_says_about_tls(peer: str, stated: list[bytes], expected: bool) -> None:
    headers = [(b"x-forwarded-proto", value) for value in stated]
    assert was_over_tls(peer, headers, TRUSTED) is expected
    assert not was_over_tls(peer, headers, ())
