"""Functions in Django's admin. Versions and packages are history: to read, not to write."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from functions import services
from functions.models import Function, FunctionTag, FunctionVersion


class ReadOnlyInline(admin.TabularInline):
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class VersionInline(ReadOnlyInline):
    model = FunctionVersion
    fields = ("version", "handler", "memory_mb", "timeout_sec", "network", "package", "created_at")


class TagInline(admin.TabularInline):
    model = FunctionTag
    extra = 0


@admin.register(Function)
class FunctionAdmin(admin.ModelAdmin):
    list_display = ("name", "runtime", "status", "latest_version", "pinned", "updated_at")
    list_filter = ("status", "runtime", "pinned")
    search_fields = ("name", "description", "=id")
    readonly_fields = (
        "id",
        "name",
        "runtime",
        "status",
        "status_message",
        "latest_version",
        "last_deployed_at",
        "created_at",
        "updated_at",
    )
    inlines: ClassVar = [TagInline, VersionInline]
    actions = ("take_offline", "put_online")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Function, form: Any, change: bool) -> None:
        services.function_update(str(obj.pk), **{key: form.cleaned_data[key] for key in form.changed_data})

    def delete_model(self, request: HttpRequest, obj: Function) -> None:
        services.function_delete(str(obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Function]) -> None:
        for function in queryset:
            services.function_delete(str(function.pk))

    @admin.action(description="Take offline")
    def take_offline(self, request: HttpRequest, queryset: QuerySet[Function]) -> None:
        for function in queryset:
            services.function_set_online(str(function.pk), online=False)

    @admin.action(description="Put online")
    def put_online(self, request: HttpRequest, queryset: QuerySet[Function]) -> None:
        for function in queryset:
            services.function_set_online(str(function.pk), online=True)


@admin.register(FunctionVersion)
class FunctionVersionAdmin(admin.ModelAdmin):
    list_display = ("function", "version", "handler", "memory_mb", "timeout_sec", "created_at")
    list_filter = ("function__runtime",)
    search_fields = ("function__name", "=package__sha256")
    list_select_related = ("function",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
