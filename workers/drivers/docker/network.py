"""The bridge of containers that may reach out."""

from __future__ import annotations

import logging

import requests
from docker import APIClient
from docker.errors import APIError

from workers.drivers.docker.limits import EGRESS_NETWORK
from workers.firewall import protect

logger = logging.getLogger(__name__)


def ensure_egress(api: APIClient) -> None:
    """Make the bridge, unless it is there, and its rules. Says what could not be closed."""
    if not api.networks(names=[f"^{EGRESS_NETWORK}$"]):
        options = {
            "com.docker.network.bridge.name": EGRESS_NETWORK,
            "com.docker.network.bridge.enable_icc": "false",
        }
        try:
            api.create_network(EGRESS_NETWORK, driver="bridge", options=options, check_duplicate=True)
        except APIError as error:
            if error.status_code != requests.codes.conflict:  # another worker was quicker
                raise
    gaps = protect(EGRESS_NETWORK)
    if gaps:
        logger.warning("containers with network access can still reach: %s", "; ".join(gaps))
