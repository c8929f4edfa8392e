"""The app of triggers."""

from __future__ import annotations

from django.apps import AppConfig


class TriggersConfig(AppConfig):
    name = "triggers"

    def ready(self) -> None:
        from functions import cron, news
        from triggers import platform_events, schedule

        cron.register(schedule.expression_problem, schedule.timezone_problem)
        news.register(platform_events.hear)
