"""The app of triggers."""

from __future__ import annotations

from django.apps import AppConfig


class TriggersConfig(AppConfig):
    name = "triggers"

    def ready(self) -> None:
        from functions import cron, destinations, news
        from invocations.reports import delivery
        from triggers import destination_events, destination_workflows, platform_events, schedule

        cron.register(schedule.expression_problem, schedule.timezone_problem)
        news.register(platform_events.hear)
        destinations.register(destination_workflows.is_there)
        delivery.register(destination_events.publish, destination_workflows.start)
