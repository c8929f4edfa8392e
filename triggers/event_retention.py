"""How long the bus keeps what it has: the archive that replays read, and the history of deliveries."""

from __future__ import annotations

from django.db.models import Q

from nimbus_project.core.pruning import Prunable
from triggers.models import DeliveryStatus, Event, EventDelivery, EventReplay, ReplayStatus

EVENTS = Prunable(
    name="events",
    keep_days=lambda config: config.retention_events_days,
    rows=Event.objects.all,
    age="accepted_at",
    # One that waits is not history yet.
    may_go=lambda _: Q(fanned_out_at__isnull=False),
)
DELIVERIES = Prunable(
    name="event_deliveries",
    keep_days=lambda config: config.retention_deliveries_days,
    rows=EventDelivery.objects.all,
    age="created_at",
    may_go=lambda _: ~Q(status=DeliveryStatus.PENDING),
)
REPLAYS = Prunable(
    name="event_replays",
    keep_days=lambda config: config.retention_deliveries_days,
    rows=EventReplay.objects.all,
    age="created_at",
    may_go=lambda _: Q(status=ReplayStatus.COMPLETED),
)
