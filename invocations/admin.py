"""Invocations in Django's admin: history, to read only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html

from invocations.models import IdempotencyKey, Invocation
from invocations.selectors import lines_of


class ReadOnlyAdmin(admin.ModelAdmin):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Invocation)
class InvocationAdmin(ReadOnlyAdmin):
    list_display = ("id", "function_name", "version", "trigger_type", "status", "attempt", "duration_ms", "created_at")
    list_filter = ("status", "trigger_type", "runtime", "start_kind")
    search_fields = ("=id", "=request_id", "function_name", "=error_type")
    date_hierarchy = "created_at"
    show_full_result_count = False
    exclude = ("input", "output")
    readonly_fields = ("event", "result", "printed")

    @admin.display(description="Input")
    def event(self, row: Invocation) -> str:
        return _shown(row.input)

    @admin.display(description="Output")
    def result(self, row: Invocation) -> str:
        return _shown(row.output)

    @admin.display(description="Logs")
    def printed(self, row: Invocation) -> str:
        return format_html("<pre>{}</pre>", "\n".join(text for _, _, text in lines_of(row)))


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    list_display = ("key", "function_id", "invocation_id", "created_at")
    search_fields = ("key", "=function_id", "=invocation_id")


def _shown(data: Any) -> str:
    """At most 16 KiB of it."""
    return format_html("<pre>{}</pre>", bytes(data or b"")[:16384].decode(errors="replace"))
