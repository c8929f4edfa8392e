"""Below /api/v1/."""

from __future__ import annotations

from django.urls import URLPattern, path

from triggers.api import alerts, event_rules, events, retention, schedules, webhooks

urlpatterns: list[URLPattern] = [
    path("schedules", schedules.SchedulesApi.as_view(), name="schedules"),
    path("schedules/<str:reference>", schedules.ScheduleApi.as_view(), name="schedule"),
    path("schedules/<str:reference>/pause", schedules.SchedulePauseApi.as_view(), name="schedule-pause"),
    path("schedules/<str:reference>/resume", schedules.ScheduleResumeApi.as_view(), name="schedule-resume"),
    path("schedules/<str:reference>/run", schedules.ScheduleRunApi.as_view(), name="schedule-run"),
    path("schedules/<str:reference>/next", schedules.ScheduleNextApi.as_view(), name="schedule-next"),
    path("schedules/<str:reference>/history", schedules.ScheduleHistoryApi.as_view(), name="schedule-history"),
    path("retention/stats", retention.RetentionStatsApi.as_view(), name="retention-stats"),
    path("retention/cleanup", retention.RetentionCleanupApi.as_view(), name="retention-cleanup"),
    path("functions/<str:reference>/webhook", webhooks.WebhookApi.as_view(), name="function-webhook"),
    path("functions/<str:reference>/webhook/enable", webhooks.WebhookEnableApi.as_view(), name="webhook-enable"),
    path("functions/<str:reference>/webhook/disable", webhooks.WebhookDisableApi.as_view(), name="webhook-disable"),
    path(
        "functions/<str:reference>/webhook/regenerate",
        webhooks.WebhookRegenerateApi.as_view(),
        name="webhook-regenerate",
    ),
    path(
        "functions/<str:reference>/webhook/deliveries",
        webhooks.WebhookDeliveriesApi.as_view(),
        name="webhook-deliveries",
    ),
    path(
        "functions/<str:reference>/webhook/deliveries/<str:delivery>/redeliver",
        webhooks.WebhookRedeliverApi.as_view(),
        name="webhook-redeliver",
    ),
    path("alerts", alerts.AlertsApi.as_view(), name="alerts"),
    path("alerts/<str:reference>", alerts.AlertApi.as_view(), name="alert"),
    path("alerts/<str:reference>/silence", alerts.AlertSilenceApi.as_view(), name="alert-silence"),
    path("alerts/<str:reference>/unsilence", alerts.AlertUnsilenceApi.as_view(), name="alert-unsilence"),
    path("alerts/<str:reference>/test", alerts.AlertTestApi.as_view(), name="alert-test"),
    path("alerts/<str:reference>/history", alerts.AlertHistoryApi.as_view(), name="alert-history"),
    path("alerts/<str:reference>/notifications", alerts.AlertNotificationsApi.as_view(), name="alert-notifications"),
    path("events", events.EventsApi.as_view(), name="events"),
    path("events/replay", events.EventReplaysApi.as_view(), name="event-replays"),
    path("events/replay/<str:reference>", events.EventReplayApi.as_view(), name="event-replay"),
    path("events/<str:reference>", events.EventApi.as_view(), name="event"),
    path("event-rules", event_rules.EventRulesApi.as_view(), name="event-rules"),
    path("event-rules/test", event_rules.PatternTestApi.as_view(), name="event-rule-test"),
    path("event-rules/<str:reference>", event_rules.EventRuleApi.as_view(), name="event-rule"),
]
