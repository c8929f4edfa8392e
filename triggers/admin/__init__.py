"""Triggers in Django's admin, one noun per file."""

from triggers.admin import schedules

__all__ = ["schedules"]
