"""Tables of triggers, one noun per file."""

from triggers.models.alerts import AlertChange, AlertChannel, AlertNotification, AlertRule, NotificationStatus
from triggers.models.events import (
    LIVE,
    DeliveryStatus,
    Event,
    EventDelivery,
    EventReplay,
    EventRule,
    ReplayStatus,
)
from triggers.models.schedules import CatchUp, FireStatus, Overlap, Schedule, ScheduleFire
from triggers.models.webhooks import Webhook, WebhookDelivery

__all__ = [
    "LIVE",
    "AlertChange",
    "AlertChannel",
    "AlertNotification",
    "AlertRule",
    "CatchUp",
    "DeliveryStatus",
    "Event",
    "EventDelivery",
    "EventReplay",
    "EventRule",
    "FireStatus",
    "NotificationStatus",
    "Overlap",
    "ReplayStatus",
    "Schedule",
    "ScheduleFire",
    "Webhook",
    "WebhookDelivery",
]
