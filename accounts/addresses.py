"""Where a request comes from: the connection's address, or what a trusted proxy says. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

_FORWARDED = frozenset({b"x-forwarded-for", b"forwarded", b"x-real-ip"})


def client_address(peer: str, headers: Iterable[tuple[bytes, bytes]], trusted: Sequence[Network]) -> str:
    """`peer` is the other end of the connection. Behind trusted proxies, the last address in `X-Forwarded-For` that is
    not one of theirs: what stands before it anybody could have written."""
    if not trusted or not is_within(peer, trusted):
        return peer
    stated = ",".join(value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for")
    found = peer
    for text in reversed([part.strip() for part in stated.split(",")]):
        address = _parsed(_without_port(text))
        if address is None:
            break
        found = str(address)
        if not is_within(found, trusted):
            break
    return found


def _without_port(text: str) -> str:
    """Some proxies say where the connection came from port and all: ``203.0.113.9:4711``, ``[2001:db8::1]:4711``."""
    if text.startswith("["):
        return text[: text.find("]") + 1]
    return text.partition(":")[0] if text.count(":") == 1 else text


def was_over_tls(peer: str, headers: Iterable[tuple[bytes, bytes]], trusted: Sequence[Network]) -> bool:
    """Whether a trusted proxy says that the client came to it by HTTPS. Of several values the last: the nearest proxy
    wrote it."""
    if not trusted or not is_within(peer, trusted):
        return False
    stated = b",".join(value for name, value in headers if name == b"x-forwarded-proto")
    return stated.rpartition(b",")[2].strip().lower() == b"https"


def was_forwarded(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a proxy stands between: its connection says nothing about who asks."""
    return any(name in _FORWARDED for name, _ in headers)


@lru_cache(maxsize=1024)
def is_loopback(text: str) -> bool:
    address = _parsed(text)
    return address is not None and address.is_loopback


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def is_within(text: str, networks: Sequence[Network]) -> bool:
    """Whether it is an address in one of these; an IPv4 address written as IPv6 is the IPv4 one."""
    address = _parsed(text)
    return address is not None and any(address in network for network in networks)
