"""What makes functions run, in Django's admin."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import ReadOnlyAdmin
from triggers.models import Webhook, WebhookDelivery


@admin.register(Webhook)
class WebhookAdmin(ReadOnlyAdmin):
    list_display = ("function", "scheme", "mode", "rate_limit_per_min", "updated_at")
    list_filter = ("scheme", "mode")
    search_fields = ("function__name",)
    list_select_related = ("function",)
    exclude = ("key_sha256", "secrets_ciphertext")


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    list_display = ("id", "function_id", "http_status", "code", "delivery_id", "address", "received_at")
    list_filter = ("http_status", "code", "received_at")
    search_fields = ("=id", "=function_id", "=request_id", "=delivery_id")
    date_hierarchy = "received_at"
    show_full_result_count = False
