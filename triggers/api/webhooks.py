"""Routes of webhooks. Calls to them are answered before Django's handler (triggers/hot.py)."""

from __future__ import annotations

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from functions.selectors import function_get
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.pagination import page_from
from triggers import deliveries, webhooks
from triggers.errors import WebhookNotFound
from triggers.serializers.webhooks import (
    RedeliveredSerializer,
    WebhookConfigSerializer,
    WebhookDeliveryListSerializer,
    WebhookEventSerializer,
    WebhookKeySerializer,
    WebhookSerializer,
    delivery_shape,
    key_shape,
    webhook_shape,
)

_PAGE = [
    OpenApiParameter("offset", OpenApiTypes.INT, description="rows to pass over"),
    OpenApiParameter("limit", OpenApiTypes.INT, description="rows to answer with, at most 100"),
]
_KEY_EXAMPLE = OpenApiExample(
    "a webhook",
    value={
        "id": "0192f0c1-7c1e-7d5a-9f3b-0a1b2c3d4e5f",
        "webhook_enabled": True,
        "webhook_key": "whk_…",
        "webhook_url": "https://nimbus.example.org/webhook/whk_…",
    },
    response_only=True,
)


class WebhookApi(APIView):
    """Who may call a function's webhook, how often, and how its requests are signed."""

    serializer_class = WebhookConfigSerializer

    @extend_schema(operation_id="webhook_get", responses=WebhookSerializer)
    def get(self, request: Request, reference: str) -> Response:
        return Response(webhook_shape(webhooks.webhook_get(reference)))

    @extend_schema(
        operation_id="webhook_configure",
        request=WebhookConfigSerializer,
        responses=WebhookSerializer,
        examples=[
            OpenApiExample(
                "GitHub",
                value={"signature": {"scheme": "github", "secret": "what GitHub was told"}, "mode": "async"},
                request_only=True,
            )
        ],
    )
    def put(self, request: Request, reference: str) -> Response:
        given = WebhookConfigSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return Response(webhook_shape(webhooks.webhook_configure(reference, given.validated_data)))


class WebhookEnableApi(APIView):
    """Let calls in at the webhook's address; it is made if need be."""

    @extend_schema(operation_id="webhook_enable", request=None, responses=WebhookKeySerializer, examples=[_KEY_EXAMPLE])
    def post(self, request: Request, reference: str) -> Response:
        return Response(key_shape(webhooks.webhook_switch(reference, enabled=True)))


class WebhookDisableApi(APIView):
    """Let no calls in; the address is kept for when it is enabled again."""

    @extend_schema(
        operation_id="webhook_disable", request=None, responses=WebhookKeySerializer, examples=[_KEY_EXAMPLE]
    )
    def post(self, request: Request, reference: str) -> Response:
        return Response(key_shape(webhooks.webhook_switch(reference, enabled=False)))


class WebhookRegenerateApi(APIView):
    """Another key: the old address is gone at once."""

    @extend_schema(
        operation_id="webhook_regenerate", request=None, responses=WebhookKeySerializer, examples=[_KEY_EXAMPLE]
    )
    def post(self, request: Request, reference: str) -> Response:
        return Response(key_shape(webhooks.webhook_regenerate(reference)))


class WebhookDeliveriesApi(APIView):
    """What came to the webhook lately, newest first."""

    @extend_schema(operation_id="webhook_delivery_list", parameters=_PAGE, responses=WebhookDeliveryListSerializer)
    def get(self, request: Request, reference: str) -> Response:
        page = page_from(request.query_params)
        rows = deliveries.deliveries_of(function_get(reference))
        shown = [delivery_shape(row) for row in rows[page.offset : page.offset + page.limit]]
        return Response(page.answer("deliveries", shown, rows.count()))


class WebhookRedeliverApi(APIView):
    """The same event once more, queued, for the function as it is now."""

    @extend_schema(operation_id="webhook_redeliver", request=None, responses={202: RedeliveredSerializer})
    def post(self, request: Request, reference: str, delivery: str) -> Response:
        made = deliveries.redeliver(reference, delivery, request_id_var.get(), timezone.now())
        shape = {
            "request_id": made.request_id,
            "invocation_id": str(made.invocation_id),
            "delivery_id": str(made.pk),
            "status": "accepted",
        }
        return Response(shape, status=status.HTTP_202_ACCEPTED)


class WebhookCallApi(APIView):
    """Call a function by its webhook: any body, any content type; headers and query are part of the event. The answer
    is the function's, as at a custom route, or 202 in mode `async`."""

    serializer_class = WebhookEventSerializer

    @extend_schema(
        operation_id="webhook_call",
        request=WebhookEventSerializer,
        responses={
            200: OpenApiResponse(OpenApiTypes.ANY, "what the function answers"),
            202: OpenApiResponse(OpenApiTypes.OBJECT, "accepted, in mode `async`"),
        },
        examples=[OpenApiExample("an event", value={"action": "opened"}, request_only=True)],
    )
    def post(self, request: Request, key: str) -> Response:
        # Never asked: the entrance answers. Without it in front, Django lets nobody in here.
        raise WebhookNotFound("There is no webhook at this address.")
