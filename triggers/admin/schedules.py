"""Schedules in Django's admin: to read, to pause and to resume. They are changed through the API, which computes fire
times anew."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin import ReadOnlyAdmin
from triggers import schedules
from triggers.models import Schedule, ScheduleFire


@admin.register(Schedule)
class ScheduleAdmin(ReadOnlyAdmin):
    list_display = (
        *("name", "function", "workflow", "cron_expression", "cron_timezone"),
        *("enabled", "next_fire_at", "last_fire_at"),
    )
    list_filter = ("enabled", "is_own", "catch_up_policy", "overlap_policy", "cron_timezone")
    search_fields = ("name", "function__name", "workflow__name", "cron_expression", "=id")
    list_select_related = ("function", "workflow")
    exclude = ("payload",)
    actions = ("pause", "resume")

    @admin.action(description="Pause")
    def pause(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        for schedule in queryset:
            schedules.schedule_set_enabled(str(schedule.pk), enabled=False)

    @admin.action(description="Resume")
    def resume(self, request: HttpRequest, queryset: QuerySet[Schedule]) -> None:
        for schedule in queryset:
            schedules.schedule_set_enabled(str(schedule.pk), enabled=True)


@admin.register(ScheduleFire)
class ScheduleFireAdmin(ReadOnlyAdmin):
    list_display = ("schedule_id", "fire_time", "status", "by_request", "is_catch_up", "reason", "created_at")
    list_filter = ("status", "by_request", "is_catch_up", "created_at")
    search_fields = ("=schedule_id", "=function_id", "=invocation_id", "=workflow_id", "=execution_id")
    date_hierarchy = "created_at"
    show_full_result_count = False
