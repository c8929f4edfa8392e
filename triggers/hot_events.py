"""`POST /events`, answered before Django's handler: programs publish one event after the other, each waiting for its
202. Parse, store, shape the answer."""

from __future__ import annotations

from invocations.calls import CallDesk
from nimbus_project.config import config
from nimbus_project.core.errors import UnsupportedMediaType
from nimbus_project.core.http import HttpAnswer, HttpRequest, json_answer
from triggers import bus, cloudevents
from triggers.cloudevents import CloudEvent, Headers, InvalidEvent, UnsupportedFormat
from triggers.errors import InvalidCloudEvent
from triggers.serializers.events import accepted_shape

IN_PLACE_BYTES = 64 * 1024
"""A longer body is decoded on a thread, lest others wait for it."""


async def publish(request: HttpRequest, desk: CallDesk) -> HttpAnswer:
    """202 once the events are stored. Raises InvalidCloudEvent, UnsupportedMediaType, TooLarge."""
    body = await request.body(config().max_event_bytes)
    if len(body) > IN_PLACE_BYTES:
        accepted = await desk.in_thread(lambda: bus.accept(decoded(request.scope["headers"], body)))
    else:
        accepted = await desk.in_thread(bus.accept, decoded(request.scope["headers"], body))
    return json_answer(accepted_shape(accepted, request.request_id), status=202)


def decoded(headers: Headers, body: bytes) -> list[CloudEvent]:
    """Raises InvalidCloudEvent, UnsupportedMediaType."""
    try:
        return cloudevents.decode(headers, body)
    except UnsupportedFormat as error:
        raise UnsupportedMediaType(str(error)) from error
    except InvalidEvent as error:
        raise InvalidCloudEvent(str(error), details=error.problems) from error
