"""Invocations in Django's admin: history, to read only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from accounts.admin import ReadOnlyAdmin
from invocations import dead_letters, redrive
from invocations.models import DeadLetter, IdempotencyKey, Invocation, InvocationLog, Report
from invocations.reports import reading
from invocations.selectors import lines_of
from nimbus_project.core.errors import NimbusError


@admin.register(Invocation)
class InvocationAdmin(ReadOnlyAdmin):
    list_display = ("id", "function_name", "version", "trigger_type", "status", "attempt", "duration_ms", "created_at")
    list_filter = ("status", "trigger_type", "runtime", "start_kind", "fault", "created_at")
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


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyAdmin):
    list_display = ("id", "function_name", "version", "status", "reason", "error_type", "attempts", "created_at")
    list_filter = ("status", "reason", "trigger_type", "created_at")
    search_fields = ("=id", "=invocation_id", "=request_id", "function_name", "=error_type")
    date_hierarchy = "created_at"
    show_full_result_count = False
    exclude = ("input",)
    readonly_fields = ("event",)
    actions = ("retry", "discard")

    @admin.display(description="Input")
    def event(self, row: DeadLetter) -> str:
        return _shown(row.input)

    @admin.action(description="Retry dead letters: their events are run once more", permissions=["view"])
    def retry(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        done = redrive.retry_many([str(pk) for pk in queryset.values_list("pk", flat=True)])
        for reference, error in done.failed:
            messages.error(request, f"{reference}: {error}")
        self.message_user(request, f"{len(done.retried)} sent again.", messages.SUCCESS)

    @admin.action(description="Discard dead letters: nobody has to look at them any more", permissions=["view"])
    def discard(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        for pk in queryset.values_list("pk", flat=True):
            try:
                dead_letters.discard(str(pk))
            except NimbusError as error:
                messages.error(request, f"{pk}: {error.message}")


@admin.register(Report)
class ReportAdmin(ReadOnlyAdmin):
    list_display = ("id", "function_name", "status", "destination", "attempt", "delivered_at", "created_at")
    list_filter = ("status", "gave_up", "created_at")
    search_fields = ("=id", "=invocation_id", "function_name", "error")
    date_hierarchy = "created_at"
    show_full_result_count = False
    actions = ("send_again",)

    @admin.action(description="Send again: reports that were given up", permissions=["view"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Report]) -> None:
        for invocation_id in queryset.values_list("invocation_id", flat=True):
            try:
                reading.send_again(str(invocation_id))
            except NimbusError as error:
                messages.error(request, f"{invocation_id}: {error.message}")


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    list_display = ("key", "function_id", "caller_id", "invocation_id", "created_at")
    search_fields = ("key", "=function_id", "=invocation_id")


@admin.register(InvocationLog)
class InvocationLogAdmin(ReadOnlyAdmin):
    list_display = ("invocation_id", "function_id", "created_at")
    search_fields = ("=invocation_id", "=function_id")
    date_hierarchy = "created_at"
    show_full_result_count = False
    exclude = ("lines",)
    readonly_fields = ("printed",)

    @admin.display(description="Lines")
    def printed(self, row: InvocationLog) -> str:
        return _shown(row.lines)


def _shown(data: Any) -> str:
    """At most 16 KiB of it."""
    return format_html("<pre>{}</pre>", bytes(data or b"")[:16384].decode(errors="replace"))
