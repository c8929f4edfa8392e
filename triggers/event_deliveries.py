"""One event to one target of one rule: an invocation by the one door, with the rights of the rule's owner.

What the function does with it is the invocation's business, which has retries and a dead letter of its own. A target
that can't be called *now* (offline, over quota) is tried again with back-off for some hours; one that is gone is not.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction
from django.db.models import QuerySet

from accounts.principal import Principal, acting_as
from functions import directory
from invocations.models import Invocation, TriggerType
from invocations.retry import backoff_sec
from invocations.services import NewInvocation, submit
from nimbus_project.config import config
from nimbus_project.core.errors import Forbidden, FunctionNotActive, NimbusError, TooLarge
from nimbus_project.core.ids import new_id
from triggers import event_rules, input_template, standing
from triggers.event_rules import Target
from triggers.models import LIVE, DeliveryStatus, Event, EventDelivery, EventRule

log = logging.getLogger("nimbus.events")

MAX_AGE = timedelta(hours=6)
"""So long a target is tried that can't be called; as long as an invocation waits by default."""
LEASE = timedelta(seconds=30)
AMONG = 16
_LATER = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Sending:
    """What is to be delivered: `number` is the target's place among the rule's."""

    rule: EventRule
    number: int
    target: Target
    who: Principal
    """As whom: the rule's owner."""
    document: dict[str, Any]
    """The event."""


def send(event: Event, sending: Sending, now: datetime, replay_id: UUID = LIVE) -> EventDelivery:
    """Store the delivery, with its invocation if the target can be called. In the transaction that notes the event as
    fanned out."""
    delivery = EventDelivery(
        event_id=event.pk,
        rule_id=sending.rule.pk,
        rule_name=sending.rule.name,
        owner_id=sending.rule.owner_id,
        target=sending.number,
        replay_id=replay_id,
        function_id=sending.target.function_id,
        function_name=sending.target.function,
        created_at=now,
    )
    _attempt(delivery, event, sending, now)
    delivery.save(force_insert=True)
    return delivery


def due(now: datetime) -> QuerySet[EventDelivery]:
    """Those to be tried again now."""
    return EventDelivery.objects.filter(status=DeliveryStatus.PENDING, next_attempt_at__lte=now)


def next_one(now: datetime) -> bool:
    """Try one again, if one is due. False when none is."""
    head = list(due(now).order_by("next_attempt_at").values_list("pk", "next_attempt_at")[:AMONG])
    if not head:
        return False
    pk, due_at = random.choice(head)
    taken = EventDelivery.objects.filter(pk=pk, status=DeliveryStatus.PENDING, next_attempt_at=due_at)
    if taken.update(next_attempt_at=now + LEASE):
        delivery = EventDelivery.objects.get(pk=pk)
        try:
            again(delivery, now)
        except Exception:
            # One delivery's trouble must not keep the others; its lease brings it back.
            log.exception("an event can't be delivered", extra={"delivery": str(pk)})
    return True


def again(delivery: EventDelivery, now: datetime) -> bool:
    """Another try of a pending one. False when somebody else has made it meanwhile."""
    event = Event.objects.filter(pk=delivery.event_id).first()
    rule = EventRule.objects.filter(pk=delivery.rule_id).first()
    sending = _sending(delivery, rule, event) if event is not None and rule is not None else None
    with transaction.atomic():
        taken_at = delivery.next_attempt_at
        if event is None or sending is None:
            _fail(delivery, "Its event or the rule's target is not there any more.")
        else:
            _attempt(delivery, event, sending, now)
        changes = ("status", "invocation_id", "attempts", "next_attempt_at", "error", "delivered_at")
        same = EventDelivery.objects.filter(pk=delivery.pk, status=DeliveryStatus.PENDING, next_attempt_at=taken_at)
        won = same.update(**{name: getattr(delivery, name) for name in changes})
        if not won:
            # Also the invocation that has just been stored.
            transaction.set_rollback(True)
    return bool(won)


def _sending(delivery: EventDelivery, rule: EventRule, event: Event) -> Sending | None:
    """With the target as the rule has it now."""
    targets = event_rules.targets_of(rule.targets)
    if delivery.target >= len(targets) or targets[delivery.target].function_id != delivery.function_id:
        return None
    who = standing.principal_of(rule.owner_id, rule.role)
    return Sending(rule, delivery.target, targets[delivery.target], who, orjson.loads(bytes(event.body)))


def _attempt(delivery: EventDelivery, event: Event, sending: Sending, now: datetime) -> None:
    delivery.attempts += 1
    try:
        with transaction.atomic(), acting_as(sending.who):
            invocation = _submit(event, sending)
    except NimbusError as error:
        _put_off(delivery, error, now)
        return
    delivery.status, delivery.invocation_id = DeliveryStatus.DELIVERED, invocation.pk
    delivery.delivered_at, delivery.next_attempt_at, delivery.error = now, None, ""


def _put_off(delivery: EventDelivery, error: NimbusError, now: datetime) -> None:
    next_at = now + timedelta(seconds=backoff_sec(delivery.attempts, random.random()))
    can_change = isinstance(error, FunctionNotActive) or error.http_status in _LATER
    if not can_change or next_at > delivery.created_at + MAX_AGE:
        _fail(delivery, error.message)
        return
    delivery.status, delivery.next_attempt_at, delivery.error = DeliveryStatus.PENDING, next_at, error.message


def _fail(delivery: EventDelivery, reason: str) -> None:
    delivery.status, delivery.next_attempt_at, delivery.error = DeliveryStatus.FAILED, None, reason
    names = {"rule": delivery.rule_name, "function": delivery.function_name}
    log.warning("an event was not delivered", extra=names | {"delivery": str(delivery.pk), "reason": reason})


def _submit(event: Event, sending: Sending) -> Invocation:
    """Raises what `submit` and the choice of a version raise, TooLarge, Forbidden."""
    if not standing.may_call(sending.who):
        raise Forbidden("The owner of the rule may not call functions any more.")
    function_id, alias = str(sending.target.function_id), sending.target.alias
    function = directory.known(function_id) or directory.look_up(function_id)
    return submit(
        NewInvocation(
            function=function,
            event=_input(event, sending),
            request_id=event.request_id or str(event.pk),
            id=new_id(),
            trigger_type=TriggerType.EVENT,
            version=function.route(alias, "", random.random()) if alias else None,
            alias=alias,
            hops=event.hops + 1,
        )
    )


def _input(event: Event, sending: Sending) -> bytes:
    """What the function is called with. Raises TooLarge."""
    if sending.target.template is None:
        return bytes(event.body)
    limit = config().max_event_bytes
    try:
        made = sending.target.template.render(sending.document, limit)
    except input_template.TooLarge:
        made = None
    if made is None or len(made) > limit:
        raise TooLarge(f"What its input_template makes of the event has more than {limit} bytes.")
    return made
