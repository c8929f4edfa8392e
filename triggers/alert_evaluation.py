"""A look at every alert: measure, decide, and store what follows, its messages with it. Beat asks for it every 15 s.

Measuring holds no lock. What follows is concluded by a compare-and-set on all that the decision was made of: of two
beats that look at once one changes the alert, and what was decided before somebody silenced or changed it is dropped.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, transaction

from accounts import standing
from accounts.principal import Principal
from nimbus_project.core import queue
from nimbus_project.core.ids import new_id
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.queue import Task
from triggers import alert_measures, notifications, platform_events
from triggers.alert_policy import Bound, Decision, Kind, Measured, Standing, State, Told, decide, is_silenced
from triggers.models import AlertChange, AlertRule

log = logging.getLogger("nimbus.alerts")

LEAST = timedelta(seconds=5)
"""An alert that was looked at so lately is passed by: another beat has done it."""
FIRED, RESOLVED = "nimbus.alert.fired", "nimbus.alert.resolved"


def evaluate_all(now: datetime) -> int:
    """The count of alerts that went to another state or told something. What fails for one alert is tried again by the
    next look and does not keep the others."""
    # This thread served callers before: what happens now is by none of their requests.
    request_id_var.set("")
    changed = 0
    owners: dict[tuple[int | None, str], Principal] = {}
    for rule in AlertRule.objects.filter(enabled=True).order_by("pk"):
        if rule.evaluated_at is not None and timedelta(0) <= now - rule.evaluated_at < LEAST:
            continue
        key = (rule.owner_id, rule.role)
        try:
            if key not in owners:
                owners[key] = standing.principal_of(*key)
            changed += evaluate(rule, owners[key], now)
        except DatabaseError:
            log.exception("an alert can't be looked at", extra={"alert": rule.name})
    if notifications.due(now).exists():
        queue.send(Task.NOTIFY, notifications.ALERTS)
    return changed


def evaluate(rule: AlertRule, who: Principal, now: datetime) -> bool:
    """One alert. True when it went to another state or told something."""
    measured = alert_measures.measure(rule, who, now)
    before = Standing(State(rule.state), rule.told_firing, rule.silenced_until)
    bound = Bound(Kind(rule.kind), rule.threshold, rule.min_samples)
    decision = decide(bound, measured, before, now)
    with transaction.atomic():
        return conclude(rule, decision, measured, now)


def conclude(rule: AlertRule, decision: Decision, measured: Measured, now: datetime) -> bool:
    """Store what was decided of the rule as it was read. In a transaction. False also when it was changed meanwhile."""
    has_changed = decision.state != rule.state
    changes: dict[str, Any] = {
        "state": decision.state,
        "last_value": measured.value,
        "last_samples": measured.samples,
        "evaluated_at": now,
    }
    if has_changed:
        changes["state_since"] = now
    if decision.told_firing is not None:
        changes["told_firing"] = decision.told_firing
    same = AlertRule.objects.filter(
        pk=rule.pk,
        state=rule.state,
        told_firing=rule.told_firing,
        silenced_until=rule.silenced_until,
        evaluated_at=rule.evaluated_at,
        updated_at=rule.updated_at,
    )
    if not same.update(**changes):
        return False
    if has_changed:
        _note(rule, decision, measured, now)
    if decision.tell is not None:
        notifications.add(rule, decision.tell, message_of(rule, decision.tell, measured, decision.reason, now), now)
    return has_changed or decision.tell is not None


def message_of(rule: AlertRule, told: Told, measured: Measured, reason: str, now: datetime) -> dict[str, Any]:
    """As `alert_messages.Message`."""
    message = {
        "id": str(new_id()),
        "alert": rule.name,
        "alert_id": str(rule.pk),
        "state": str(told),
        "kind": rule.kind,
        "value": measured.value,
        "threshold": rule.threshold,
        "samples": measured.samples,
        "window_sec": rule.window_sec,
        "reason": reason,
        "at": now.isoformat().replace("+00:00", "Z"),
    }
    return message | ({"function": rule.function_name} if rule.function_id is not None else {})


def _note(rule: AlertRule, decision: Decision, measured: Measured, now: datetime) -> None:
    """In the history, and on the bus."""
    before = Standing(State(rule.state), rule.told_firing, rule.silenced_until)
    AlertChange.objects.create(
        rule_id=rule.pk,
        rule_name=rule.name,
        state=decision.state,
        value=measured.value,
        samples=measured.samples,
        threshold=rule.threshold,
        reason=decision.reason[:300],
        silenced=is_silenced(before, now),
        at=now,
    )
    log.info("an alert changed", extra={"alert": rule.name, "state": str(decision.state)})
    told = Told.FIRING if decision.state is State.FIRING else Told.RESOLVED
    data = message_of(rule, told, measured, decision.reason, now) | {"silenced": is_silenced(before, now)}
    type_ = FIRED if told is Told.FIRING else RESOLVED
    platform_events.publish(type_, rule.function_name, rule.name, data, owner_id=rule.owner_id)
