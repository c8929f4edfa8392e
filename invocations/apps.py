"""The app of runs. Tells functions who knows how much they were used, and how their versions do."""

from __future__ import annotations

from django.apps import AppConfig


class InvocationsConfig(AppConfig):
    name = "invocations"

    def ready(self) -> None:
        from functions import measures, usage
        from invocations import measures as runs
        from invocations import selectors

        usage.register(selectors.usage_of)
        measures.register(runs.runs_through)
