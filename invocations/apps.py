"""The app of runs. Tells functions who knows how much they were used."""

from __future__ import annotations

from django.apps import AppConfig


class InvocationsConfig(AppConfig):
    name = "invocations"

    def ready(self) -> None:
        from functions import usage
        from invocations import selectors

        usage.register(selectors.usage_of)
