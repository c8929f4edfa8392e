"""Messages of alerts on their way: rows that workers send, and try again with back-off when they don't arrive.

A row is taken by moving its `next_attempt_at`, sent without any lock or transaction, and concluded by a
compare-and-set: of several workers one sends it. A worker that dies in between may have sent it already: then it is
sent twice (receivers know it by its id), rather than never.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.core.mail import EmailMessage, get_connection
from django.db.models import QuerySet
from django.utils import timezone
from redis.exceptions import RedisError

from nimbus_project.config import config
from nimbus_project.core import outgoing, queue
from nimbus_project.core.crypto import Undecryptable
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.outgoing import AddressRefused, Undeliverable
from nimbus_project.core.queue import Task
from nimbus_project.core.signature import signature_headers
from triggers import alert_channels, alert_messages
from triggers.alert_channels import Address, ChannelType
from triggers.alert_policy import Told
from triggers.models import AlertChannel, AlertNotification, AlertRule, NotificationStatus

log = logging.getLogger("nimbus.alerts")

ALERTS = "alerts"
"""What the message that wakes a worker is about."""
TIMEOUT_SEC = 10.0
LEASE = timedelta(seconds=60)
"""Longer than a batch takes."""
AT_ONCE = 10
MAX_ATTEMPTS = 10
"""In about half an hour."""
FIRST_SEC = 5.0
MAX_SEC = 300.0
_AGAIN = frozenset({408, 425, 429})
"""Of the 4xx, those that may be different later."""
_busy = threading.Lock()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a try did not arrive."""

    reason: str
    is_final: bool = False


def add(rule: AlertRule, told: Told, message: dict[str, Any], now: datetime) -> list[AlertNotification]:
    """One for each channel of the rule. In the transaction of what is told."""
    text = orjson.dumps(message).decode()
    rows = [
        AlertNotification(
            rule_id=rule.pk,
            rule_name=rule.name,
            channel_id=channel.pk,
            channel=f"{channel.type}: {channel.shown}",
            told=told,
            message=text,
            next_attempt_at=now,
            created_at=now,
        )
        for channel in rule.channels.order_by("place")
    ]
    AlertNotification.objects.bulk_create(rows)
    if rows:
        queue.wake_after_commit(Task.NOTIFY, ALERTS)
    return rows


def due(now: datetime) -> QuerySet[AlertNotification]:
    return AlertNotification.objects.filter(status=NotificationStatus.PENDING, next_attempt_at__lte=now)


def run_woken() -> int:
    """As `run`, for a message that asked for it: from now on another one is sent for what comes."""
    try:
        queue.woken(Task.NOTIFY, ALERTS)
    except RedisError:
        # It runs out by itself after a second.
        pass
    return run()


def run() -> int:
    """Send what is due. The count of tries. Any number at once do no harm."""
    request_id_var.set("")
    tried = 0
    while _busy.acquire(blocking=False):
        try:
            while batch := _take(timezone.now()):
                tried += _send_all(batch)
        finally:
            _busy.release()
        # Once more after the lock was given back: a message that was dropped in between is not missed.
        if not due(timezone.now()).exists():
            break
    return tried


def _take(now: datetime) -> list[AlertNotification]:
    taken = []
    for row in due(now).order_by("next_attempt_at")[:AT_ONCE]:
        same = AlertNotification.objects.filter(
            pk=row.pk, status=NotificationStatus.PENDING, next_attempt_at=row.next_attempt_at
        )
        if same.update(next_attempt_at=now + LEASE):
            row.next_attempt_at = now + LEASE
            taken.append(row)
    return taken


def _send_all(rows: Sequence[AlertNotification]) -> int:
    """At the same time: one receiver that does not answer must not hold up the others."""
    channels = AlertChannel.objects.in_bulk([row.channel_id for row in rows])
    wanted: list[tuple[AlertNotification, Address | Failure]] = []
    for row in rows:
        channel = channels.get(row.channel_id)
        wanted.append((row, _address(channel) if channel is not None else Failure("It was removed.", True)))
    results = asyncio.run(_exchange(wanted))
    now = timezone.now()
    for row, failure in zip(rows, results, strict=True):
        _conclude(row, failure, now)
    return len(rows)


def _address(channel: AlertChannel) -> Address | Failure:
    try:
        return alert_channels.address_of(channel)
    except Undecryptable as error:
        log.error("a channel can't be read", extra={"channel": str(channel.pk), "reason": str(error)})
        return Failure(str(error))


async def _exchange(wanted: Sequence[tuple[AlertNotification, Address | Failure]]) -> list[Failure | None]:
    return await asyncio.gather(*(_send(row, address) for row, address in wanted))


async def _send(row: AlertNotification, address: Address | Failure) -> Failure | None:
    """None when it has arrived."""
    if isinstance(address, Failure):
        return address
    message = orjson.loads(row.message)
    try:
        if address.type is ChannelType.EMAIL:
            return await asyncio.wait_for(asyncio.to_thread(_mail, message, address), 4 * TIMEOUT_SEC)
        return await _post(row, message, address)
    except TimeoutError:
        return Failure("No answer in time.")
    except AddressRefused as error:
        return Failure(str(error), is_final=True)
    except Undeliverable as error:
        return Failure(str(error))
    except Exception as error:
        log.exception("a notification can't be sent", extra={"notification": str(row.pk)})
        return Failure(type(error).__name__)


async def _post(row: AlertNotification, message: dict[str, Any], address: Address) -> Failure | None:
    slack = address.type is ChannelType.SLACK
    body = alert_messages.slack_body(message) if slack else alert_messages.webhook_body(message)
    headers = {"Content-Type": "application/json", "User-Agent": "Nimbus"}
    if address.secret:
        headers |= signature_headers(address.secret, str(row.pk), int(timezone.now().timestamp()), body)
    answer = await outgoing.post_async(address.url, body=body, headers=headers, timeout_sec=TIMEOUT_SEC)
    if answer.ok:
        return None
    is_final = 300 <= answer.status < 500 and answer.status not in _AGAIN
    return Failure(f"It was answered with {answer.status}.", is_final)


def _mail(message: dict[str, Any], address: Address) -> Failure | None:
    if not config().smtp_host:
        return Failure("Mail can't be sent: NIMBUS_SMTP_HOST is not set.", is_final=True)
    subject, text = alert_messages.mail(message)
    try:
        EmailMessage(subject, text, config().smtp_from, list(address.to), connection=get_connection()).send()
    except OSError as error:
        # Also all that smtplib raises. Its text may have the server's whole answer, not its password.
        return Failure(f"The mail server: {error}"[:400])
    return None


def _conclude(row: AlertNotification, failure: Failure | None, now: datetime) -> None:
    attempts = row.attempts + 1
    changes: dict[str, Any] = {"attempts": attempts, "next_attempt_at": None, "error": ""}
    if failure is None:
        changes |= {"status": NotificationStatus.DELIVERED, "delivered_at": now}
    else:
        changes["error"] = failure.reason[:500]
        if failure.is_final or attempts >= MAX_ATTEMPTS:
            changes["status"] = NotificationStatus.FAILED
        else:
            changes["next_attempt_at"] = now + timedelta(seconds=pause_sec(attempts, random.random()))
        told = {"alert": row.rule_name, "channel": row.channel, "attempts": attempts, "reason": failure.reason[:200]}
        log.warning("an alert did not arrive", extra=told)
    AlertNotification.objects.filter(
        pk=row.pk, status=NotificationStatus.PENDING, next_attempt_at=row.next_attempt_at
    ).update(**changes)


def pause_sec(attempts: int, jitter: float) -> float:
    """After the n-th try that failed: 5, 10, 20, … 300 s, each spread to 50–100 % by `jitter` in [0, 1)."""
    return min(MAX_SEC, FIRST_SEC * 2.0 ** (attempts - 1)) * (0.5 + jitter / 2)
