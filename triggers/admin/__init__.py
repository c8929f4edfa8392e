"""Triggers in Django's admin, one noun per file."""

from triggers.admin import schedules, webhooks

__all__ = ["schedules", "webhooks"]
