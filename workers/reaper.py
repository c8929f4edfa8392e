"""The reaper: runs whose worker died, builds whose message was lost, keys past their day. Called by beat every few
seconds; two at once do no harm. What waits to be run needs no reaper: workers look for it themselves (takers.py)."""

from __future__ import annotations

import logging

from django.utils import timezone

from functions import builds
from invocations import idempotency, lifecycle
from nimbus_project.core.queue import Task, send
from triggers import bus, fan_out

log = logging.getLogger("nimbus.reaper")

RESEND_SEC = 60.0
"""A build's message that was sent so long ago and not acted upon is lost."""


def sweep() -> None:
    """Give expired leases back, send messages of builds again."""
    now = timezone.now()
    lost = lifecycle.expire_leases(now) + builds.expire_leases(now)
    for task_id in builds.due(now, resend_after_sec=RESEND_SEC):
        send(Task.BUILD, str(task_id))
    idempotency.forget_old(now)
    if fan_out.waiting(now):
        send(Task.FAN_OUT, bus.EVENTS)
    if lost:
        log.info("swept", extra={"leases_expired": lost})
