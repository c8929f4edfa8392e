"""The way to the engine, and every exception it may answer with."""

from __future__ import annotations

import docker
import requests
import urllib3
from docker.errors import DockerException

from workers.sandbox import SandboxError

ENGINE_TIMEOUT_SEC = 60

ENGINE_TROUBLE = (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError)


def connect(timeout_sec: int | None) -> docker.APIClient:
    """Raises SandboxError."""
    try:
        api = docker.APIClient(version="auto", timeout=timeout_sec, max_pool_size=32)
    except ENGINE_TROUBLE as error:
        raise SandboxError(f"The Docker engine does not answer: {error}") from error
    if api.base_url.startswith("http+docker:"):
        # No proxy leads to a local socket. Requests would look for one in the environment before each request, and
        # ends with a KeyError when another thread changes the environment meanwhile.
        api.trust_env = False
    return api
