"""The log of changes: who, what, when, from where, before and after. Secrets never get into it.

One line inside the transaction of a change::

    audit.record("alias.update", "alias", alias.pk, alias.name, before={"weights": old}, after={"weights": new})

Give whole states: when both sides are there, only what differs is kept. Source becomes its hash, environment variables
their names and whether they changed, anything that is called like a secret three stars.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from django.db import connection, transaction

from accounts.models import AuditEntry
from accounts.principal import principal_var
from nimbus_project.core.logging import request_id_var

State = Mapping[str, Any]

MASK = "***"
MAX_TEXT = 1000
_SOURCES = frozenset({"code", "binary", "archive", "data", "source"})
_ENVIRONMENTS = frozenset({"env_vars", "secrets"})
_SECRET_NAME = re.compile(
    r"secret|password|passwd|token|api_?key|authorization|ciphertext|private|credential", re.IGNORECASE
)


def record(
    action: str,
    object_type: str,
    object_id: object,
    object_name: str = "",
    *,
    before: State | None = None,
    after: State | None = None,
) -> None:
    """Add one entry: `action` as ``alias.update``; `before` is None for what was made, `after` for what is gone. Call
    it in the transaction of the change: both stand or fall together. Raises RuntimeError outside one."""
    if not connection.in_atomic_block:
        raise RuntimeError("audit.record belongs into the transaction of the change")
    who = principal_var.get()
    shown_before, shown_after = shown(before, after)
    AuditEntry.objects.create(
        actor=who.name[:150],
        key_prefix=who.key_prefix,
        address=who.address[:64],
        request_id=request_id_var.get()[:128],
        action=action,
        object_type=object_type,
        object_id=str(object_id)[:64],
        object_name=object_name[:128],
        before=shown_before,
        after=shown_after,
    )


def prune(before: datetime, limit: int | None = None) -> int:
    """Delete entries from before this time, oldest first, the one thing that the log's triggers allow. The count."""
    old = AuditEntry.objects.filter(at__lt=before)
    if limit is not None:
        old = AuditEntry.objects.filter(pk__in=list(old.order_by("at").values_list("pk", flat=True)[:limit]))
    with transaction.atomic():
        _allow_deletes(True)
        deleted, _ = old.delete()
        # Closed in the same transaction: no other ever sees it open.
        _allow_deletes(False)
    return deleted


def _allow_deletes(allowed: bool) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT set_config('nimbus.audit_retention', %s, true)", ["on" if allowed else "off"])
        else:
            cursor.execute("UPDATE accounts_audit_gate SET open = %s", [int(allowed)])


def shown(before: State | None, after: State | None) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """What may be kept of both sides, as plain JSON values."""
    if before is None or after is None:
        return _masked(before, None), _masked(after, None)
    same = {key for key in before.keys() & after.keys() if before[key] == after[key]}
    old = {key: value for key, value in before.items() if key not in same}
    new = {key: value for key, value in after.items() if key not in same}
    return _masked(old, None), _masked(new, old)


def _masked(state: State | None, against: State | None) -> dict[str, Any] | None:
    """`against`: the earlier state, to tell which environment variables changed."""
    if state is None:
        return None
    old = against or {}
    masked = {str(key): _value(str(key), value, old.get(key), against is not None) for key, value in state.items()}
    plain: dict[str, Any] = orjson.loads(orjson.dumps(masked, default=str, option=orjson.OPT_NON_STR_KEYS))
    return plain


def _value(name: str, value: Any, old: Any, compared: bool) -> Any:
    if name in _ENVIRONMENTS and isinstance(value, Mapping):
        return {str(key)[:128]: _change(key, text, old, compared) for key, text in value.items()}
    if name in _SOURCES and isinstance(value, str | bytes | memoryview):
        data = value.encode(errors="surrogatepass") if isinstance(value, str) else bytes(value)
        return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    if _SECRET_NAME.search(name) and not isinstance(value, bool | int | None):
        return MASK
    if isinstance(value, Mapping):
        return {str(key): _value(str(key), item, None, False) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_value("", item, None, False) for item in value]
    if isinstance(value, str):
        # PostgreSQL's jsonb has no NUL, UTF-8 no lone surrogates.
        return value[:MAX_TEXT].replace("\0", "").encode(errors="replace").decode()
    return f"{len(value)} bytes" if isinstance(value, bytes | memoryview) else value


def _change(name: Any, text: Any, old: Any, compared: bool) -> str:
    if not compared or not isinstance(old, Mapping):
        return MASK
    if name not in old:
        return f"{MASK} (new)"
    return MASK if old[name] == text else f"{MASK} (changed)"
