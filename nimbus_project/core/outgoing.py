"""HTTP to addresses that users name (alerts, destinations): never to where only this machine may go.

A name is resolved here and the connection goes to the very address that was looked at, so that a name which means
something else a moment later (DNS rebinding) leads nowhere. Redirects are not followed. Private, loopback, link-local
and other addresses that are not the public internet's are refused unless `NIMBUS_OUTGOING_ALLOW` names them. One bound
holds for the whole exchange, however slowly the other end drips.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import httpx

from nimbus_project.config import config

MAX_URL = 2048
MAX_PORT = 65535
MAX_ANSWER_BYTES = 4096
"""Of the answer's body; the rest is not read."""
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")
_NAT64 = ip_network("64:ff9b::/96")
_COMPATIBLE = ip_network("::/96")
"""IPv4 in IPv6, the older form: ``::127.0.0.1``. Its first two are the unspecified address and loopback."""

Address = IPv4Address | IPv6Address
Networks = Iterable[IPv4Network | IPv6Network]


class Undeliverable(Exception):
    """It did not get there, or nothing came back; the text is fit to be shown to whoever named the address."""


class AddressRefused(Undeliverable):
    """It must not go there: trying again does not help."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever its status; the beginning of the body."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


def url_problem(url: str) -> str:
    """Why nothing can be sent to this URL, or "". No name is looked up."""
    if len(url) > MAX_URL:
        return f"Must have at most {MAX_URL} characters."
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return "Is not a URL."
    if parsed.scheme not in ("http", "https") or not parsed.host:
        return "Must begin with https:// or http:// and name a host."
    if not _HOST.fullmatch(parsed.raw_host.decode("ascii")):
        return "Is not a URL."
    if parsed.port is not None and not 1 <= parsed.port <= MAX_PORT:
        return f"Must have a port from 1 to {MAX_PORT}, or none."
    if parsed.userinfo:
        return "Must not carry a user name or password."
    literal = _literal(parsed.host)
    if literal is not None and not allowed(literal, config().outgoing_networks):
        return _refusal(parsed.host)
    return ""


def allowed(address: Address, networks: Networks) -> bool:
    """Whether users' URLs may lead to this address."""
    meant = _meant(address)
    if any(address in network or meant in network for network in networks):
        return True
    return meant.is_global and not meant.is_multicast


def post(url: str, *, body: bytes, headers: Mapping[str, str], timeout_sec: float) -> Answer:
    """As `post_async`, from a thread without an event loop."""
    return asyncio.run(post_async(url, body=body, headers=headers, timeout_sec=timeout_sec))


async def post_async(url: str, *, body: bytes, headers: Mapping[str, str], timeout_sec: float) -> Answer:
    """Raises AddressRefused, Undeliverable."""
    if problem := url_problem(url):
        raise AddressRefused(problem)
    try:
        async with asyncio.timeout(timeout_sec):
            return await _post(httpx.URL(url), body, headers, timeout_sec)
    except TimeoutError:
        raise Undeliverable(f"No answer within {timeout_sec:g} s.") from None


async def _post(url: httpx.URL, body: bytes, headers: Mapping[str, str], timeout_sec: float) -> Answer:
    addresses = await _addresses(url)
    failure: Exception | None = None
    # No proxies or certificates from the environment: a proxy would look the name up again.
    async with httpx.AsyncClient(timeout=timeout_sec, follow_redirects=False, trust_env=False, verify=_tls()) as client:
        for address in addresses:
            try:
                return await _exchange(client, url, address, body, headers)
            except httpx.ConnectError as error:
                failure = error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise Undeliverable(_reason(error)) from error
    raise Undeliverable(f"No connection to {url.host}: {_reason(failure)}") from failure


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """One for all: making it reads every certificate authority, which takes 20 ms."""
    return httpx.create_ssl_context(trust_env=False)


async def _exchange(
    client: httpx.AsyncClient, url: httpx.URL, address: Address, body: bytes, headers: Mapping[str, str]
) -> Answer:
    request = client.build_request(
        "POST",
        url.copy_with(host=str(address)),
        content=body,
        headers={"Accept-Encoding": "identity", **headers, "Host": url.netloc.decode("ascii")},
        # The certificate must be that of the name, not of the address.
        extensions={"sni_hostname": url.raw_host.decode("ascii")} if _literal(url.host) is None else {},
    )
    answer = await client.send(request, stream=True)
    try:
        begin = b""
        async for chunk in answer.aiter_raw():
            begin += chunk
            if len(begin) >= MAX_ANSWER_BYTES:
                break
        return Answer(answer.status_code, begin[:MAX_ANSWER_BYTES], dict(answer.headers))
    finally:
        await answer.aclose()


async def _addresses(url: httpx.URL) -> list[Address]:
    """All that the host stands for and that may be connected to. Raises AddressRefused, Undeliverable."""
    networks = config().outgoing_networks
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Undeliverable(f"The host {url.host} is not known.") from error
    every = dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found)
    usable = [address for address in every if allowed(address, networks)]
    if not usable:
        raise AddressRefused(_refusal(url.host))
    return usable


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 one carries, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)


def _refusal(host: str) -> str:
    return f"{host} is not a public address. An administrator can allow it by NIMBUS_OUTGOING_ALLOW."


def _reason(error: Exception | None) -> str:
    return str(error) or type(error).__name__
