"""One event to one target of one rule: an invocation by the one door, with the rights of the rule's owner; or an
execution of a workflow that this one sees, which has the rights of the workflow.

What the function does with it is the invocation's business, which has retries and a dead letter of its own. A target
that can't be called *now* (offline, over quota) is tried again with back-off for some hours; one that is gone is not.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction
from django.db.models import Q, QuerySet

from accounts import standing
from accounts.principal import Principal, acting_as
from functions import directory
from invocations.models import TriggerType
from invocations.retry import backoff_sec
from invocations.services import NewInvocation, submit_all
from nimbus_project.config import config
from nimbus_project.core.errors import Forbidden, FunctionNotActive, NimbusError, TooLarge
from nimbus_project.core.ids import new_id
from triggers import input_template, rule_directory, workflow_runs
from triggers.event_rules import Target
from triggers.models import LIVE, DeliveryStatus, Event, EventDelivery
from triggers.rule_directory import LiveRule
from workflows.selectors import workflow_get

log = logging.getLogger("nimbus.events")

MAX_AGE = timedelta(hours=6)
"""So long a target is tried that can't be called; as long as an invocation waits by default."""
LEASE = timedelta(seconds=30)
AMONG = 16
PORTION = 500
PORTION_BYTES = 8 * 1024 * 1024
"""Of events, in one statement: a copy of its event goes with each target."""
_LATER = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Sending:
    """What is to be delivered: `number` is the target's place among the rule's."""

    event: Event
    document: dict[str, Any]
    """The event's."""
    rule: LiveRule
    number: int

    @property
    def target(self) -> Target:
        return self.rule.targets[self.number]


def send(sendings: Sequence[Sending], now: datetime, replay_id: UUID = LIVE) -> None:
    """Store the deliveries, each with its invocation if the target can be called. In the transaction that notes their
    events as fanned out; in a few statements for all, each with a bounded number of bytes."""
    for some in _portions(sendings):
        made = [(_delivery(sending, now, replay_id), sending) for sending in some]
        _attempt(made, now)
        EventDelivery.objects.bulk_create([delivery for delivery, _ in made])


def _portions(sendings: Sequence[Sending]) -> Iterator[list[Sending]]:
    some: list[Sending] = []
    size = 0
    for sending in sendings:
        some.append(sending)
        size += len(sending.event.body)
        if size >= PORTION_BYTES or len(some) >= PORTION:
            yield some
            some, size = [], 0
    if some:
        yield some


def _delivery(sending: Sending, now: datetime, replay_id: UUID) -> EventDelivery:
    return EventDelivery(
        event_id=sending.event.pk,
        rule_id=sending.rule.id,
        rule_name=sending.rule.name,
        owner_id=sending.rule.owner_id,
        target=sending.number,
        replay_id=replay_id,
        function_id=sending.target.function_id,
        function_name=sending.target.function,
        workflow_id=sending.target.workflow_id,
        workflow_name=sending.target.workflow,
        created_at=now,
    )


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
    sending = _sending(delivery)
    with transaction.atomic():
        taken_at = delivery.next_attempt_at
        if sending is None:
            _fail(delivery, "Its event or the rule's target is not there any more.")
        else:
            _attempt([(delivery, sending)], now)
        run = ("invocation_id", "execution_id")
        changes = ("status", *run, "attempts", "next_attempt_at", "error", "delivered_at")
        same = EventDelivery.objects.filter(pk=delivery.pk, status=DeliveryStatus.PENDING, next_attempt_at=taken_at)
        won = same.update(**{name: getattr(delivery, name) for name in changes})
        if not won:
            # Also the invocation or the execution that has just been stored.
            transaction.set_rollback(True)
    return bool(won)


def _sending(delivery: EventDelivery) -> Sending | None:
    """With the target as the rule has it now."""
    event = Event.objects.filter(pk=delivery.event_id).first()
    rule = next(iter(rule_directory.rules(Q(pk=delivery.rule_id))), None)
    if event is None or rule is None or delivery.target >= len(rule.targets):
        return None
    target = rule.targets[delivery.target]
    if (target.function_id, target.workflow_id) != (delivery.function_id, delivery.workflow_id):
        return None
    return Sending(event, orjson.loads(bytes(event.body)), rule, delivery.target)


def _attempt(made: Sequence[tuple[EventDelivery, Sending]], now: datetime) -> None:
    """One try of each, in the caller's transaction."""
    asked: list[tuple[EventDelivery, Principal, NewInvocation]] = []
    for delivery, sending in made:
        delivery.attempts += 1
        who = sending.rule.who
        try:
            with acting_as(who):
                if sending.target.workflow_id is not None:
                    delivery.execution_id = _started(sending)
                    _delivered(delivery, now)
                else:
                    asked.append((delivery, who, _new(sending)))
        except NimbusError as error:
            _put_off(delivery, error, now)
    answers = submit_all([(who, new) for _, who, new in asked])
    for (delivery, *_), answer in zip(asked, answers, strict=True):
        if isinstance(answer, NimbusError):
            _put_off(delivery, answer, now)
            continue
        delivery.invocation_id = answer.pk
        _delivered(delivery, now)


def _delivered(delivery: EventDelivery, now: datetime) -> None:
    delivery.status, delivery.delivered_at = DeliveryStatus.DELIVERED, now
    delivery.next_attempt_at, delivery.error = None, ""


def _put_off(delivery: EventDelivery, error: NimbusError, now: datetime) -> None:
    next_at = now + timedelta(seconds=backoff_sec(delivery.attempts, random.random()))
    can_change = isinstance(error, FunctionNotActive) or error.http_status in _LATER
    if not can_change or next_at > delivery.created_at + MAX_AGE:
        _fail(delivery, error.message)
        return
    delivery.status, delivery.next_attempt_at, delivery.error = DeliveryStatus.PENDING, next_at, error.message


def _fail(delivery: EventDelivery, reason: str) -> None:
    delivery.status, delivery.next_attempt_at, delivery.error = DeliveryStatus.FAILED, None, reason
    names = {"rule": delivery.rule_name, "target": delivery.function_name or delivery.workflow_name}
    log.warning("an event was not delivered", extra=names | {"delivery": str(delivery.pk), "reason": reason})


def _new(sending: Sending) -> NewInvocation:
    """Raises what looking up the function and the choice of a version raise, TooLarge, Forbidden."""
    _check_rights(sending)
    event, alias = sending.event, sending.target.alias
    function_id = str(sending.target.function_id)
    function = directory.known(function_id) or directory.look_up(function_id)
    return NewInvocation(
        function=function,
        event=_input(sending),
        request_id=event.request_id or str(event.pk),
        id=new_id(),
        trigger_type=TriggerType.EVENT,
        version=function.route(alias, "", random.random()) if alias else None,
        alias=alias,
        hops=event.hops + 1,
    )


def _started(sending: Sending) -> UUID:
    """The execution's id. Raises WorkflowNotFound, TooLarge, Forbidden."""
    _check_rights(sending)
    event = sending.event
    workflow = workflow_get(str(sending.target.workflow_id))
    # A savepoint: a refusal must not undo the others' deliveries.
    with transaction.atomic():
        execution = workflow_runs.start(
            workflow,
            _input(sending),
            new_id(),
            trigger_type=TriggerType.EVENT,
            request_id=event.request_id or str(event.pk),
            hops=event.hops + 1,
        )
    return execution.pk


def _check_rights(sending: Sending) -> None:
    if not standing.may_call(sending.rule.who):
        raise Forbidden("The owner of the rule may not call functions any more.")


def _input(sending: Sending) -> bytes:
    """What the target is called with. Raises TooLarge."""
    if sending.target.template is None:
        return bytes(sending.event.body)
    limit = config().max_event_bytes
    try:
        made = sending.target.template.render(sending.document, limit)
    except input_template.TooLarge:
        made = None
    if made is None or len(made) > limit:
        raise TooLarge(f"What its input_template makes of the event has more than {limit} bytes.")
    return made
