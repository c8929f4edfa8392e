"""Below /api/v1/."""

from __future__ import annotations

from django.urls import URLPattern, path

from triggers.api import webhooks

urlpatterns: list[URLPattern] = [
    path("functions/<str:reference>/webhook", webhooks.WebhookApi.as_view(), name="function-webhook"),
    path("functions/<str:reference>/webhook/enable", webhooks.WebhookEnableApi.as_view(), name="webhook-enable"),
    path("functions/<str:reference>/webhook/disable", webhooks.WebhookDisableApi.as_view(), name="webhook-disable"),
    path(
        "functions/<str:reference>/webhook/regenerate",
        webhooks.WebhookRegenerateApi.as_view(),
        name="webhook-regenerate",
    ),
    path(
        "functions/<str:reference>/webhook/deliveries",
        webhooks.WebhookDeliveriesApi.as_view(),
        name="webhook-deliveries",
    ),
    path(
        "functions/<str:reference>/webhook/deliveries/<str:delivery>/redeliver",
        webhooks.WebhookRedeliverApi.as_view(),
        name="webhook-redeliver",
    ),
]
