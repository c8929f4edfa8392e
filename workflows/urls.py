"""Below /api/v1/."""

from __future__ import annotations

from django.urls import URLPattern, path

from workflows.api import executions, workflows

urlpatterns: list[URLPattern] = [
    path("workflows", workflows.WorkflowsApi.as_view(), name="workflows"),
    path("workflows/validate", workflows.WorkflowValidateApi.as_view(), name="workflow-validate"),
    path("workflows/<str:reference>", workflows.WorkflowApi.as_view(), name="workflow"),
    path("workflows/<str:reference>/versions", workflows.WorkflowVersionsApi.as_view(), name="workflow-versions"),
    path(
        "workflows/<str:reference>/versions/<int:number>",
        workflows.WorkflowVersionApi.as_view(),
        name="workflow-version",
    ),
    path(
        "workflows/<str:reference>/executions", executions.WorkflowExecutionsApi.as_view(), name="workflow-executions"
    ),
    path("executions", executions.ExecutionsApi.as_view(), name="executions"),
    path("executions/<str:reference>", executions.ExecutionApi.as_view(), name="execution"),
    path("executions/<str:reference>/history", executions.ExecutionHistoryApi.as_view(), name="execution-history"),
    path(
        "executions/<str:reference>/history/<int:number>", executions.ExecutionStepApi.as_view(), name="execution-step"
    ),
    path("executions/<str:reference>/stop", executions.ExecutionStopApi.as_view(), name="execution-stop"),
]
