"""How long the history of alerts is kept."""

from __future__ import annotations

from django.db.models import Q

from nimbus_project.core.pruning import Prunable
from triggers.models import AlertChange, AlertNotification, NotificationStatus

CHANGES = Prunable(
    name="alert_changes",
    keep_days=lambda config: config.retention_alerts_days,
    rows=AlertChange.objects.all,
    age="at",
)
NOTIFICATIONS = Prunable(
    name="alert_notifications",
    keep_days=lambda config: config.retention_alerts_days,
    rows=AlertNotification.objects.all,
    age="created_at",
    may_go=lambda _: ~Q(status=NotificationStatus.PENDING),
)
