"""Functions in Django's admin. Changes go through the services, so that versions, caches and the audit log follow;
what is history is to read, and secrets are names."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import CharField, IntegerField, ModelForm, Textarea
from django.http import HttpRequest

from accounts.admin import ReadOnlyAdmin, ReadOnlyInline
from functions import services
from functions.models import (
    Alias,
    Artifact,
    BuildTask,
    Environment,
    Function,
    FunctionEnvironment,
    FunctionRoute,
    FunctionTag,
    FunctionVersion,
    Layer,
    LayerVersion,
    Package,
    Rollout,
    Secret,
)
from nimbus_project.core.errors import NimbusError


class VersionInline(ReadOnlyInline):
    model = FunctionVersion
    fields = ("version", "handler", "memory_mb", "timeout_sec", "network", "is_ready", "created_by", "created_at")
    readonly_fields = fields
    show_change_link = True


class AliasInline(ReadOnlyInline):
    model = Alias
    fields = ("name", "weights", "updated_at")
    readonly_fields = fields


class SecretInline(ReadOnlyInline):
    model = Secret
    fields = ("name", "updated_at")
    readonly_fields = fields


class TagInline(ReadOnlyInline):
    model = FunctionTag
    fields = ("name",)
    readonly_fields = fields


class LayerVersionInline(ReadOnlyInline):
    model = LayerVersion
    fields = ("version", "sha256", "size_bytes", "created_at")
    readonly_fields = fields


class FunctionForm(ModelForm):
    """With the bounds that the API has."""

    description = CharField(required=False, max_length=4096, widget=Textarea)
    max_concurrency = IntegerField(min_value=0, max_value=10_000, help_text="0: no limit")
    max_retries = IntegerField(min_value=0, max_value=10)
    max_event_age_sec = IntegerField(min_value=60, max_value=86_400 * 7)


@admin.register(Function)
class FunctionAdmin(admin.ModelAdmin):
    form = FunctionForm
    list_display = ("name", "runtime", "status", "latest_version", "owner", "shared", "pinned", "updated_at")
    list_filter = ("status", "runtime", "pinned", "shared", ("owner", admin.RelatedOnlyFieldListFilter))
    search_fields = ("name", "description", "=id", "tag_rows__name", "owner__username")
    list_select_related = ("owner",)
    date_hierarchy = "created_at"
    autocomplete_fields = ("owner",)
    readonly_fields = (
        "id",
        "name",
        "runtime",
        "status",
        "status_message",
        "latest_version",
        "last_number",
        "generation",
        "http_path",
        "http_methods",
        "http_auth",
        "cors",
        "webhook_enabled",
        "on_success",
        "on_failure",
        "last_deployed_at",
        "created_at",
        "updated_at",
    )
    exclude = ("webhook_ciphertext",)
    inlines: ClassVar = [TagInline, AliasInline, SecretInline, VersionInline]
    actions = ("take_offline", "put_online")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Function, form: Any, change: bool) -> None:
        given = {key: form.cleaned_data[key] for key in form.changed_data}
        if "owner" in given:
            owner = given.pop("owner")
            services.function_give(str(obj.pk), owner.pk if owner is not None else None)
        if given:
            services.function_update(str(obj.pk), **given)

    def delete_model(self, request: HttpRequest, obj: Function) -> None:
        services.function_delete(str(obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Function]) -> None:
        for function in queryset:
            services.function_delete(str(function.pk))

    @admin.action(description="Take offline", permissions=["change"])
    def take_offline(self, request: HttpRequest, queryset: QuerySet[Function]) -> None:
        self._set_online(request, queryset, online=False)

    @admin.action(description="Put online", permissions=["change"])
    def put_online(self, request: HttpRequest, queryset: QuerySet[Function]) -> None:
        self._set_online(request, queryset, online=True)

    def _set_online(self, request: HttpRequest, queryset: QuerySet[Function], *, online: bool) -> None:
        for function in queryset:
            try:
                services.function_set_online(str(function.pk), online=online)
            except NimbusError as error:
                messages.error(request, f"{function.name}: {error.message}")


@admin.register(FunctionVersion)
class FunctionVersionAdmin(ReadOnlyAdmin):
    list_display = (
        "function",
        "version",
        "handler",
        "memory_mb",
        "timeout_sec",
        "is_ready",
        "created_by",
        "created_at",
    )
    list_filter = ("function__runtime", "network", "is_ready", "created_at")
    search_fields = ("function__name", "=package__sha256", "created_by", "description")
    list_select_related = ("function",)
    exclude = ("env_vars",)
    readonly_fields = ("variables",)

    @admin.display(description="Environment variables")
    def variables(self, version: FunctionVersion) -> str:
        return ", ".join(version.env_vars) or "none"


@admin.register(Package)
class PackageAdmin(ReadOnlyAdmin):
    list_display = ("sha256", "kind", "size_bytes", "created_at")
    list_filter = ("kind", "created_at")
    search_fields = ("=sha256",)
    exclude = ("data",)


@admin.register(Artifact)
class ArtifactAdmin(ReadOnlyAdmin):
    list_display = ("key", "kind", "size_bytes", "created_at")
    list_filter = ("kind", "created_at")
    search_fields = ("=key", "=sha256")


@admin.register(BuildTask)
class BuildTaskAdmin(ReadOnlyAdmin):
    list_display = ("id", "function", "version", "type", "status", "attempt", "created_at", "completed_at")
    list_filter = ("status", "type", "created_at")
    search_fields = ("=id", "function__name", "error")
    list_select_related = ("function",)


@admin.register(Layer)
class LayerAdmin(ReadOnlyAdmin):
    list_display = ("name", "owner", "compatible_runtimes", "last_number", "updated_at")
    search_fields = ("name", "description", "owner__username")
    list_filter = ("created_at",)
    list_select_related = ("owner",)
    inlines: ClassVar = [LayerVersionInline]


@admin.register(LayerVersion)
class LayerVersionAdmin(ReadOnlyAdmin):
    list_display = ("layer", "version", "sha256", "size_bytes", "created_at")
    search_fields = ("layer__name", "=sha256")
    list_filter = ("created_at",)
    list_select_related = ("layer",)


@admin.register(Alias)
class AliasAdmin(ReadOnlyAdmin):
    list_display = ("name", "function", "weights", "updated_at")
    list_filter = ("name",)
    search_fields = ("name", "function__name")
    list_select_related = ("function",)


@admin.register(Rollout)
class RolloutAdmin(ReadOnlyAdmin):
    list_display = ("alias", "function", "version", "status", "step", "reason", "created_at", "updated_at")
    list_filter = ("status", "created_at")
    search_fields = ("alias__name", "alias__function__name", "reason")
    list_select_related = ("alias__function",)

    @admin.display(ordering="alias__function__name")
    def function(self, rollout: Rollout) -> str:
        return rollout.alias.function.name


@admin.register(Secret)
class SecretAdmin(ReadOnlyAdmin):
    list_display = ("name", "function", "created_at", "updated_at")
    search_fields = ("name", "function__name")
    list_filter = ("updated_at",)
    list_select_related = ("function",)
    exclude = ("ciphertext",)


@admin.register(Environment)
class EnvironmentAdmin(ReadOnlyAdmin):
    list_display = ("name", "description", "updated_at")
    search_fields = ("name", "description")


@admin.register(FunctionEnvironment)
class FunctionEnvironmentAdmin(ReadOnlyAdmin):
    list_display = ("function", "environment", "memory_mb", "timeout_sec", "active_alias", "updated_at")
    list_filter = ("environment",)
    search_fields = ("function__name", "environment__name")
    list_select_related = ("function", "environment")
    exclude = ("env_vars",)


@admin.register(FunctionTag)
class FunctionTagAdmin(ReadOnlyAdmin):
    list_display = ("name", "function")
    search_fields = ("name", "function__name")
    list_select_related = ("function",)


@admin.register(FunctionRoute)
class FunctionRouteAdmin(ReadOnlyAdmin):
    list_display = ("pattern", "method", "function")
    list_filter = ("method",)
    search_fields = ("pattern", "function__name")
    list_select_related = ("function",)
