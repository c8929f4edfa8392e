"""This machine's address in the engine's networks."""

from __future__ import annotations

from ipaddress import ip_network

import docker


def gateway_of(engine: docker.APIClient, network: str) -> str:
    """An engine in its first life does not say it of its own bridge: it is the subnet's first address."""
    found = engine.inspect_network(network)["IPAM"]["Config"][0]
    return str(found.get("Gateway") or next(ip_network(found["Subnet"]).hosts()))
