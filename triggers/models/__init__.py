"""Tables of triggers, one noun per file."""

from triggers.models.schedules import CatchUp, FireStatus, Overlap, Schedule, ScheduleFire

__all__ = ["CatchUp", "FireStatus", "Overlap", "Schedule", "ScheduleFire"]
