"""Routes of the event bus: parse, call a service or selector, shape the answer."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from nimbus_project.core.logging import request_id_var
from nimbus_project.core.pagination import cursor_after, page_from
from triggers import bus, event_archive, event_replays, hot_events
from triggers.event_archive import EventFilter
from triggers.serializers.events import (
    CloudEventSerializer,
    EventListSerializer,
    EventsAcceptedSerializer,
    EventSerializer,
    ReplayListSerializer,
    ReplaySerializer,
    ReplayStartSerializer,
    accepted_shape,
    event_row_shape,
    event_shape,
    replay_shape,
)


def _query(name: str, about: str, kind: OpenApiTypes = OpenApiTypes.STR) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=about)


_PAGE = [
    _query("offset", "rows to pass over", OpenApiTypes.INT),
    _query("limit", "rows to answer with, at most 100", OpenApiTypes.INT),
]
_PAID = {
    "specversion": "1.0",
    "id": "order-1001-paid",
    "source": "/shop",
    "type": "order.paid",
    "data": {"order": 1001, "amount": 120.5},
}


class EventsApi(APIView):
    """Publish CloudEvents, and read those that were."""

    @extend_schema(
        operation_id="event_list",
        parameters=[
            _query("type", "exactly this type"),
            _query("source", "exactly this source"),
            _query("before", "accepted before (RFC 3339)"),
            _query("after", "accepted after (RFC 3339)"),
            _query("cursor", "next_cursor of the answer before, instead of offset"),
            *_PAGE,
        ],
        responses=EventListSerializer,
    )
    def get(self, request: Request) -> Response:
        page = page_from(request.query_params)
        rows = event_archive.events_matching(EventFilter.from_query(request.query_params))
        shown: list[Any] = list(event_archive.listed(rows)[page.offset : page.offset + page.limit + 1])
        last = shown[page.limit - 1] if 0 < page.limit < len(shown) else None
        more = {"next_cursor": cursor_after(last.accepted_at, last.pk)} if last else {}
        shapes = [event_row_shape(row, row.body_bytes) for row in shown[: page.limit]]
        return Response(page.answer("events", shapes, rows.count(), **more))

    @extend_schema(
        operation_id="event_publish",
        description=(
            "CloudEvents 1.0 over HTTP: structured (`application/cloudevents+json`), batched "
            "(`application/cloudevents-batch+json`), or binary: attributes in `ce-` headers, the body is the data. "
            "202 once they are safely stored. The same source and id are accepted once."
        ),
        request={
            "application/cloudevents+json": CloudEventSerializer,
            "application/cloudevents-batch+json": CloudEventSerializer(many=True),
        },
        responses={202: EventsAcceptedSerializer},
        examples=[
            OpenApiExample("paid", value=_PAID, request_only=True, media_type="application/cloudevents+json"),
            OpenApiExample("batch", value=[_PAID], request_only=True, media_type="application/cloudevents-batch+json"),
        ],
    )
    def post(self, request: Request) -> Response:
        # The entrance answers this before Django (hot_events.py). Not `request.data`: the media type says how the
        # *event* is encoded, and headers are needed as they came.
        given = request._request
        events = hot_events.decoded(given.scope["headers"], given.body)  # type: ignore[attr-defined]  # ASGI's
        return Response(accepted_shape(bus.accept(events), request_id_var.get()), status=status.HTTP_202_ACCEPTED)


class EventApi(APIView):
    """One event with what was delivered of it."""

    @extend_schema(operation_id="event_get", responses=EventSerializer)
    def get(self, request: Request, reference: str) -> Response:
        event = event_archive.event_get(reference)
        return Response(event_shape(event, event_archive.deliveries_of(event)))


class EventReplaysApi(APIView):
    """Hold the events of a range of time against rules once more, as new deliveries."""

    serializer_class = ReplayStartSerializer

    @extend_schema(operation_id="event_replay_list", parameters=_PAGE, responses=ReplayListSerializer)
    def get(self, request: Request) -> Response:
        page = page_from(request.query_params)
        rows = event_replays.replays()
        shown = [replay_shape(row) for row in rows[page.offset : page.offset + page.limit]]
        return Response(page.answer("replays", shown, rows.count()))

    @extend_schema(
        operation_id="event_replay",
        request=ReplayStartSerializer,
        responses={202: ReplaySerializer},
        examples=[
            OpenApiExample(
                "an hour",
                value={"from": "2026-01-31T12:00:00Z", "to": "2026-01-31T13:00:00Z", "rule": "on-paid"},
                request_only=True,
            )
        ],
    )
    def post(self, request: Request) -> Response:
        given = ReplayStartSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        asked = given.validated_data
        replay = event_replays.replay_start(asked["from"], asked["to"], asked.get("rule", ""))
        return Response(replay_shape(replay), status=status.HTTP_202_ACCEPTED)


class EventReplayApi(APIView):
    """One replay, and how far it is."""

    @extend_schema(operation_id="event_replay_get", responses=ReplaySerializer)
    def get(self, request: Request, reference: str) -> Response:
        return Response(replay_shape(event_replays.replay_get(reference)))
