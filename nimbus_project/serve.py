"""`python -m nimbus_project.serve --fd N`: a web process, on a listening socket that was handed to it."""

from __future__ import annotations

import argparse

import uvicorn

from nimbus_project.asgi import application
from nimbus_project.express_protocol import ExpressProtocol


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m nimbus_project.serve", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="descriptor of the listening socket")
    parser.add_argument("--grace-sec", type=int, default=10, help="for requests under way when it is told to end")
    given = parser.parse_args()
    uvicorn.run(
        application,
        fd=given.fd,
        loop="uvloop",
        http=ExpressProtocol,
        lifespan="on",
        access_log=False,
        # Whose X-Forwarded-For is believed is decided by NIMBUS_TRUSTED_PROXIES; uvicorn would believe loopback's.
        proxy_headers=False,
        log_level="warning",
        timeout_graceful_shutdown=given.grace_sec,
    )


if __name__ == "__main__":
    main()
