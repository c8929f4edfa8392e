"""Workflows and what they ran in Django's admin: to read. Workflows are changed by the API, which checks them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest
from django.utils.html import format_html

from accounts.admin import ReadOnlyAdmin
from nimbus_project.core.errors import NimbusError
from workflows import services
from workflows.models import Execution, Step, StoredDefinition, Workflow, WorkflowVersion


@admin.register(Workflow)
class WorkflowAdmin(ReadOnlyAdmin):
    list_display = ("name", "version", "owner", "role", "description", "updated_at")
    list_filter = ("updated_at",)
    search_fields = ("=id", "name", "description", "owner__username")
    list_select_related = ("owner",)
    readonly_fields = ("document",)

    @admin.display(description="Definition's text")
    def document(self, row: Workflow) -> str:
        return _shown(row.definition.document.encode())


@admin.register(WorkflowVersion)
class WorkflowVersionAdmin(ReadOnlyAdmin):
    list_display = ("workflow", "version", "definition", "created_at")
    search_fields = ("workflow__name", "=definition__sha256")
    list_select_related = ("workflow",)
    date_hierarchy = "created_at"


@admin.register(StoredDefinition)
class StoredDefinitionAdmin(ReadOnlyAdmin):
    list_display = ("sha256", "head")
    search_fields = ("=sha256",)
    show_full_result_count = False
    exclude = ("document",)
    readonly_fields = ("text",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[StoredDefinition]:
        return super().get_queryset(request).annotate(head=Left("document", 80))

    @admin.display(description="Begins with")
    def head(self, row: Any) -> str:
        text: str = row.head
        return text

    @admin.display(description="Text")
    def text(self, row: StoredDefinition) -> str:
        return _shown(row.document.encode())


@admin.register(Execution)
class ExecutionAdmin(ReadOnlyAdmin):
    list_display = ("name", "workflow_name", "workflow_version", "trigger_type", "status", "error_code", "created_at")
    list_filter = ("status", "trigger_type", "created_at")
    search_fields = ("=id", "=name", "=workflow_id", "workflow_name", "=request_id", "=error_code")
    date_hierarchy = "created_at"
    show_full_result_count = False
    exclude = ("input", "output")
    readonly_fields = ("given", "made")
    actions = ("stop",)

    @admin.display(description="Input")
    def given(self, row: Execution) -> str:
        return _shown(row.input)

    @admin.display(description="Output")
    def made(self, row: Execution) -> str:
        return _shown(row.output)

    @admin.action(description="Stop: end them, and the calls that are under way for them", permissions=["view"])
    def stop(self, request: HttpRequest, queryset: QuerySet[Execution]) -> None:
        for pk in queryset.values_list("pk", flat=True):
            try:
                services.execution_stop(str(pk))
            except NimbusError as error:
                messages.error(request, f"{pk}: {error.message}")


@admin.register(Step)
class StepAdmin(ReadOnlyAdmin):
    list_display = ("number", "state_name", "state_type", "status", "retry_count", "execution_id", "started_at")
    list_filter = ("status", "state_type", "started_at")
    search_fields = ("=id", "=execution__id", "=invocation_id", "=state_name", "=error_code")
    show_full_result_count = False
    exclude = ("input", "output")
    readonly_fields = ("given", "made")

    @admin.display(description="Input")
    def given(self, row: Step) -> str:
        return _shown(row.input)

    @admin.display(description="Output")
    def made(self, row: Step) -> str:
        return _shown(row.output)


def _shown(data: Any) -> str:
    """At most 16 KiB of it."""
    return format_html("<pre>{}</pre>", bytes(data or b"")[:16384].decode(errors="replace"))
