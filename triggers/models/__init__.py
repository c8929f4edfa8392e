"""Tables of triggers, one noun per file."""

from triggers.models.schedules import CatchUp, FireStatus, Overlap, Schedule, ScheduleFire
from triggers.models.webhooks import Webhook, WebhookDelivery

__all__ = ["CatchUp", "FireStatus", "Overlap", "Schedule", "ScheduleFire", "Webhook", "WebhookDelivery"]
