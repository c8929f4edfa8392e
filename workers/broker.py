"""Celery's way to Redis, which must not end when Redis does."""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import ConnectionError


class Channel(redis.Channel):
    """One of a connection that may have been given up."""

    def _connparams(self, asynchronous: bool = False) -> Any:
        # Closing a channel puts back what was not acknowledged. When Redis goes, kombu 5.7 may close one a second time,
        # after its connection has let go of the transport: that is an AttributeError, which Celery's worker, being no
        # error of a connection, takes for the end of itself.
        if self.connection.client is None:
            raise ConnectionError("The connection was given up.")
        return super()._connparams(asynchronous=asynchronous)


class Transport(redis.Transport):
    """With such channels."""

    Channel = Channel


def take_the_schemes() -> None:
    """Before the first connection. The setting `broker_transport` is not heeded for the URL of a Unix socket."""
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:Transport"))
