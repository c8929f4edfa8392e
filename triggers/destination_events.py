"""The event bus as a destination of functions: what `on_success` and `on_failure` with an event publish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triggers import bus, cloudevents
from triggers.errors import InvalidCloudEvent


def publish(event: Mapping[str, Any], owner_id: int | None, hops: int) -> None:
    """A CloudEvent as JSON, of the function's owner, in the transaction that notes it as delivered. One of this source
    and id that is there already stays as it is. Raises InvalidCloudEvent."""
    try:
        made = cloudevents.from_json(event)
    except cloudevents.InvalidEvent as error:
        # A payload that is nested deeper than an event may be.
        raise InvalidCloudEvent(str(error)) from error
    bus.publish([made], owner_id, hops=hops)
