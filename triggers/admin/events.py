"""The event bus in Django's admin: to read. Rules are changed by the API, which checks them."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html

from accounts.admin import ReadOnlyAdmin
from triggers.models import Event, EventDelivery, EventReplay, EventRule


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("type_head", "source", "event_id", "owner_id", "accepted_at", "fanned_out_at", "tries")
    list_filter = ("accepted_at", ("fanned_out_at", admin.EmptyFieldListFilter))
    search_fields = ("=id", "type_head", "=event_id", "=request_id")
    date_hierarchy = "accepted_at"
    show_full_result_count = False
    exclude = ("body",)
    readonly_fields = ("event",)

    @admin.display(description="Event")
    def event(self, row: Event) -> str:
        return format_html("<pre>{}</pre>", bytes(row.body)[:16384].decode(errors="replace"))


@admin.register(EventRule)
class EventRuleAdmin(ReadOnlyAdmin):
    list_display = ("name", "owner", "enabled", "pattern", "updated_at")
    list_filter = ("enabled",)
    search_fields = ("name", "description", "owner__username", "pattern")
    list_select_related = ("owner",)


@admin.register(EventDelivery)
class EventDeliveryAdmin(ReadOnlyAdmin):
    list_display = ("rule_name", "function_name", "workflow_name", "status", "attempts", "error", "created_at")
    list_filter = ("status", "created_at")
    search_fields = (
        "=id",
        "=event_id",
        "=invocation_id",
        "=execution_id",
        "rule_name",
        "function_name",
        "workflow_name",
    )
    show_full_result_count = False


@admin.register(EventReplay)
class EventReplayAdmin(ReadOnlyAdmin):
    list_display = ("id", "rule_name", "status", "starts_at", "ends_at", "events", "deliveries", "created_at")
    list_filter = ("status", "created_at")
    search_fields = ("=id", "rule_name")
