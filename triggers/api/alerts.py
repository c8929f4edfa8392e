"""Routes of alerts: parse, call a service or selector, shape the answer."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from nimbus_project.core.pagination import page_from
from triggers import alerts
from triggers.models import AlertRule
from triggers.serializers.alerts import (
    AlertCreateSerializer,
    AlertHistorySerializer,
    AlertListSerializer,
    AlertSerializer,
    AlertUpdateSerializer,
    NotificationListSerializer,
    NotificationsSentSerializer,
    SilenceSerializer,
    alert_shape,
    change_shape,
    notification_shape,
)

_PAGE = [
    OpenApiParameter("offset", OpenApiTypes.INT, description="rows to pass over"),
    OpenApiParameter("limit", OpenApiTypes.INT, description="rows to answer with, at most 100"),
]
_FAILING = {
    "name": "hello-fails",
    "kind": "error_rate",
    "function": "hello",
    "threshold": 0.05,
    "window_sec": 300,
    "min_samples": 20,
    "channels": [{"type": "webhook", "url": "https://example.org/alerts", "secret": "correct horse battery"}],
}


def _answer(rule: AlertRule, code: int = status.HTTP_200_OK) -> Response:
    return Response(alert_shape(rule, timezone.now()), status=code)


class AlertsApi(APIView):
    """Make alerts and list them."""

    serializer_class = AlertCreateSerializer

    @extend_schema(operation_id="alert_list", parameters=_PAGE, responses=AlertListSerializer)
    def get(self, request: Request) -> Response:
        page, now = page_from(request.query_params), timezone.now()
        rows = alerts.alerts()
        shown = [alert_shape(row, now) for row in rows[page.offset : page.offset + page.limit]]
        return Response(page.answer("alerts", shown, rows.count()))

    @extend_schema(
        operation_id="alert_create",
        request=AlertCreateSerializer,
        responses={201: AlertSerializer},
        examples=[OpenApiExample("failures", value=_FAILING, request_only=True)],
    )
    def post(self, request: Request) -> Response:
        given = AlertCreateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return _answer(alerts.alert_create(**given.validated_data), status.HTTP_201_CREATED)


class AlertApi(APIView):
    """One alert, by id or name."""

    serializer_class = AlertUpdateSerializer

    @extend_schema(operation_id="alert_get", responses=AlertSerializer)
    def get(self, request: Request, reference: str) -> Response:
        return _answer(alerts.alert_get(reference))

    @extend_schema(
        operation_id="alert_replace",
        request=AlertUpdateSerializer,
        responses=AlertSerializer,
        examples=[OpenApiExample("later", value={"threshold": 0.1}, request_only=True)],
    )
    def put(self, request: Request, reference: str) -> Response:
        return self._update(request, reference)

    @extend_schema(operation_id="alert_update", request=AlertUpdateSerializer, responses=AlertSerializer)
    def patch(self, request: Request, reference: str) -> Response:
        return self._update(request, reference)

    def _update(self, request: Request, reference: str) -> Response:
        given = AlertUpdateSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return _answer(alerts.alert_update(reference, **given.validated_data))

    @extend_schema(operation_id="alert_delete", responses={204: None})
    def delete(self, request: Request, reference: str) -> Response:
        alerts.alert_delete(reference)
        return Response(status=status.HTTP_204_NO_CONTENT)


class AlertSilenceApi(APIView):
    """Tell its channels nothing for a while. It is looked at all the same."""

    serializer_class = SilenceSerializer

    @extend_schema(
        operation_id="alert_silence",
        request=SilenceSerializer,
        responses=AlertSerializer,
        examples=[OpenApiExample("an hour", value={"duration_sec": 3600}, request_only=True)],
    )
    def post(self, request: Request, reference: str) -> Response:
        given = SilenceSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        asked = given.validated_data
        until = asked.get("until") or timezone.now() + timedelta(seconds=asked["duration_sec"])
        return _answer(alerts.alert_silence(reference, until))


class AlertUnsilenceApi(APIView):
    """Let it speak again. What its channels missed and is still true, they hear at the next look."""

    @extend_schema(operation_id="alert_unsilence", request=None, responses=AlertSerializer)
    def post(self, request: Request, reference: str) -> Response:
        return _answer(alerts.alert_unsilence(reference))


class AlertTestApi(APIView):
    """Send a message to each of its channels, to see whether it arrives."""

    @extend_schema(operation_id="alert_test", request=None, responses={202: NotificationsSentSerializer})
    def post(self, request: Request, reference: str) -> Response:
        sent = alerts.alert_test(reference)
        return Response({"notifications": [notification_shape(row) for row in sent]}, status=status.HTTP_202_ACCEPTED)


class AlertHistoryApi(APIView):
    """When it fired and when it resolved, newest first."""

    @extend_schema(operation_id="alert_history", parameters=_PAGE, responses=AlertHistorySerializer)
    def get(self, request: Request, reference: str) -> Response:
        page = page_from(request.query_params)
        rows = alerts.changes_of(alerts.alert_get(reference))
        shown = [change_shape(row) for row in rows[page.offset : page.offset + page.limit]]
        return Response(page.answer("history", shown, rows.count()))


class AlertNotificationsApi(APIView):
    """What its channels were told, and whether it arrived, newest first."""

    @extend_schema(operation_id="alert_notifications", parameters=_PAGE, responses=NotificationListSerializer)
    def get(self, request: Request, reference: str) -> Response:
        page = page_from(request.query_params)
        rows = alerts.notifications_of(alerts.alert_get(reference))
        shown = [notification_shape(row) for row in rows[page.offset : page.offset + page.limit]]
        return Response(page.answer("notifications", shown, rows.count()))
