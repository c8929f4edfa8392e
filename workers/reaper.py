"""The reaper: runs whose worker died, messages that were lost, keys past their day. Called by beat every few seconds;
two at once do no harm."""

from __future__ import annotations

import logging
from typing import cast

from django.utils import timezone

from functions import builds
from invocations import idempotency, lifecycle
from nimbus_project.core import redis
from nimbus_project.core.queue import Task, send

log = logging.getLogger("nimbus.reaper")

RESEND_EMPTY_SEC = 5.0
"""With an empty queue, a message sent so long ago and not acted upon is lost."""
RESEND_FULL_SEC = 60.0
"""With messages waiting, it may be among them."""
SEND_AT_ONCE = 200


def sweep() -> None:
    """Give expired leases back, send what is due and has no message."""
    now = timezone.now()
    lost = lifecycle.expire_leases(now)
    waiting = cast(int, redis.connection().llen("async"))
    resend_after = RESEND_EMPTY_SEC if waiting == 0 else RESEND_FULL_SEC
    ids = lifecycle.due(now, resend_after_sec=resend_after, limit=SEND_AT_ONCE) if waiting < SEND_AT_ONCE else []
    for invocation_id in ids:
        send(Task.RUN_INVOCATION, str(invocation_id))
    lost += builds.expire_leases(now)
    for task_id in builds.due(now, resend_after_sec=RESEND_FULL_SEC):
        send(Task.BUILD, str(task_id))
    idempotency.forget_old(now)
    if lost or ids:
        log.info("swept", extra={"leases_expired": lost, "messages_sent": len(ids)})
