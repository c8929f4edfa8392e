"""Below /api/v1/."""

from __future__ import annotations

from django.urls import path

from invocations.api import invocations as api

urlpatterns = [
    path("functions/<str:reference>/invoke", api.InvokeApi.as_view(), name="function-invoke"),
    path("functions/<str:reference>/async", api.AsyncApi.as_view(), name="function-async"),
    path("functions/<str:reference>/invocations", api.FunctionInvocationsApi.as_view(), name="function-invocations"),
    path("quota", api.QuotaApi.as_view(), name="quota"),
    path("stats", api.StatsApi.as_view(), name="stats"),
    path("functions/<str:reference>/logs/stream", api.FunctionLogsStreamApi.as_view(), name="function-logs-stream"),
    path("invocations/<str:reference>/stream", api.InvocationStreamApi.as_view(), name="invocation-stream"),
    path("invocations", api.InvocationsApi.as_view(), name="invocations"),
    path("invocations/<str:reference>", api.InvocationApi.as_view(), name="invocation"),
    path("invocations/<str:reference>/logs", api.InvocationLogsApi.as_view(), name="invocation-logs"),
    path("invocations/<str:reference>/replay", api.InvocationReplayApi.as_view(), name="invocation-replay"),
    path("invocations/<str:reference>/cancel", api.InvocationCancelApi.as_view(), name="invocation-cancel"),
]
