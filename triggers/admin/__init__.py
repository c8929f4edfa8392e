"""Triggers in Django's admin, one noun per file."""

from triggers.admin import events, schedules, webhooks

__all__ = ["events", "schedules", "webhooks"]
