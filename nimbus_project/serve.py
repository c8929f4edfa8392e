"""`python -m nimbus_project.serve --fd N`: a web process, on a listening socket that was handed to it."""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
from typing import Any

import uvicorn

from nimbus_project.asgi import application
from nimbus_project.bounded_protocol import BoundedProtocol


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m nimbus_project.serve", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="descriptor of the listening socket")
    parser.add_argument("--grace-sec", type=int, default=10, help="for requests under way when it is told to end")
    given = parser.parse_args()
    # As what it is: uvicorn takes each descriptor for a Unix socket, and its connections then keep the second half of
    # an answer back until the client has acknowledged the first (no TCP_NODELAY), which takes 40 ms.
    with socket.socket(fileno=given.fd) as listener:
        made = server(application, given.grace_sec)
        with contextlib.suppress(KeyboardInterrupt):
            made.run([listener])
    sys.exit(0 if made.started else 1)


def server(served: Any, grace_sec: int) -> uvicorn.Server:
    settings = uvicorn.Config(
        served,
        loop="uvloop",
        http=BoundedProtocol,
        lifespan="on",
        access_log=False,
        # Whose X-Forwarded-For is believed is decided by NIMBUS_TRUSTED_PROXIES; uvicorn would believe loopback's.
        proxy_headers=False,
        # Lines of JSON like all others: uvicorn's own configuration would take its loggers back from settings.LOGGING.
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=grace_sec,
    )
    return uvicorn.Server(settings)


if __name__ == "__main__":
    main()
