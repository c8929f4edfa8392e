"""Below /api/v1/."""

from __future__ import annotations

from django.urls import path

from invocations.api import calls, dead_letters, reports
from invocations.api import invocations as api

urlpatterns = [
    path("functions/<str:reference>/invoke", calls.InvokeApi.as_view(), name="function-invoke"),
    path("functions/<str:reference>/async", calls.AsyncApi.as_view(), name="function-async"),
    path("functions/<str:reference>/invocations", api.FunctionInvocationsApi.as_view(), name="function-invocations"),
    path("quota", api.QuotaApi.as_view(), name="quota"),
    path("stats", api.StatsApi.as_view(), name="stats"),
    path("functions/<str:reference>/logs/stream", calls.FunctionLogsStreamApi.as_view(), name="function-logs-stream"),
    path("invocations/<str:reference>/stream", calls.InvocationStreamApi.as_view(), name="invocation-stream"),
    path("invocations", api.InvocationsApi.as_view(), name="invocations"),
    path("invocations/<str:reference>", api.InvocationApi.as_view(), name="invocation"),
    path("invocations/<str:reference>/logs", api.InvocationLogsApi.as_view(), name="invocation-logs"),
    path("invocations/<str:reference>/replay", api.InvocationReplayApi.as_view(), name="invocation-replay"),
    path("invocations/<str:reference>/cancel", api.InvocationCancelApi.as_view(), name="invocation-cancel"),
    path("invocations/<str:reference>/report", reports.ReportApi.as_view(), name="invocation-report"),
    path("invocations/<str:reference>/report/retry", reports.ReportRetryApi.as_view(), name="invocation-report-retry"),
    path("dlq", dead_letters.DeadLettersApi.as_view(), name="dlq"),
    path("dlq/stats", dead_letters.DeadLetterStatsApi.as_view(), name="dlq-stats"),
    path("dlq/retry", dead_letters.DeadLettersRetryApi.as_view(), name="dlq-retry"),
    path("dlq/<str:reference>", dead_letters.DeadLetterApi.as_view(), name="dead-letter"),
    path("dlq/<str:reference>/retry", dead_letters.DeadLetterRetryApi.as_view(), name="dead-letter-retry"),
    path("dlq/<str:reference>/discard", dead_letters.DeadLetterDiscardApi.as_view(), name="dead-letter-discard"),
]
