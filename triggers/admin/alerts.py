"""Alerts in Django's admin: to read. They are changed by the API, which checks them."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import ReadOnlyAdmin, ReadOnlyInline
from triggers.models import AlertChange, AlertChannel, AlertNotification, AlertRule


class ChannelInline(ReadOnlyInline):
    model = AlertChannel
    fields = ("type", "shown")
    readonly_fields = fields


@admin.register(AlertRule)
class AlertRuleAdmin(ReadOnlyAdmin):
    list_display = ("name", "owner", "kind", "function_name", "threshold", "state", "silenced_until", "enabled")
    list_filter = ("state", "kind", "enabled")
    search_fields = ("name", "description", "function_name", "owner__username")
    list_select_related = ("owner",)
    inlines = (ChannelInline,)


@admin.register(AlertChannel)
class AlertChannelAdmin(ReadOnlyAdmin):
    list_display = ("type", "shown", "rule")
    list_filter = ("type",)
    search_fields = ("rule__name", "shown")
    list_select_related = ("rule",)
    exclude = ("ciphertext",)


@admin.register(AlertChange)
class AlertChangeAdmin(ReadOnlyAdmin):
    list_display = ("at", "rule_name", "state", "value", "threshold", "silenced", "reason")
    list_filter = ("state", "at")
    search_fields = ("rule_name", "=rule_id")
    date_hierarchy = "at"


@admin.register(AlertNotification)
class AlertNotificationAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "rule_name", "told", "channel", "status", "attempts", "error")
    list_filter = ("status", "told", "created_at")
    search_fields = ("rule_name", "channel", "=rule_id")
