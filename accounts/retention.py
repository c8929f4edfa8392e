"""How long the audit log is kept."""

from __future__ import annotations

from accounts import audit
from accounts.models import AuditEntry
from nimbus_project.core.pruning import Prunable

AUDIT = Prunable(
    name="audit",
    keep_days=lambda config: config.retention_audit_days,
    rows=AuditEntry.objects.all,
    age="at",
    delete_rows=audit.prune,
)
