"""The app of workflows."""

from __future__ import annotations

from django.apps import AppConfig


class WorkflowsConfig(AppConfig):
    name = "workflows"

    def ready(self) -> None:
        from invocations import endings
        from invocations.models import TriggerType
        from workflows import calls

        endings.register(TriggerType.WORKFLOW, calls.ended)
