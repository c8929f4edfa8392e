"""Triggers in Django's admin, one noun per file."""

from triggers.admin import alerts, events, schedules, webhooks

__all__ = ["alerts", "events", "schedules", "webhooks"]
