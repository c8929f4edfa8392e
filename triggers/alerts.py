"""Alerts: made, changed, silenced, tried. What they do is in alert_evaluation.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit, quotas, references, standing
from accounts.principal import acting_as, principal_var
from accounts.visibility import owned
from functions.errors import FunctionNotFound
from functions.selectors import function_get
from nimbus_project.core.crypto import Undecryptable
from nimbus_project.core.errors import InvalidRequest
from triggers import alert_channels, alert_evaluation, notifications
from triggers.alert_channels import Address, ChannelType
from triggers.alert_policy import Decision, Kind, Measured, State, Told, threshold_problem
from triggers.errors import AlertExists, AlertNotFound
from triggers.models import AlertChange, AlertNotification, AlertRule

MAX_ALERTS = 100
"""Of one owner: all are looked at every few seconds."""
MAX_SILENCE = timedelta(days=366)
FIELDS = ("name", "description", "kind", "threshold", "window_sec", "min_samples", "enabled")


def alerts() -> QuerySet[AlertRule]:
    """Those that may be seen, by name."""
    return AlertRule.objects.filter(owned()).order_by("name", "id")


def alert_get(reference: str, *, for_update: bool = False) -> AlertRule:
    """By id or name, among those that may be seen; of one name, the principal's own first. Raises AlertNotFound,
    AmbiguousName."""
    rows = alerts().select_for_update() if for_update else alerts()
    return references.meant(rows, reference, "alert", AlertNotFound)


def alert_create(*, function: str = "", channels: Sequence[Mapping[str, Any]] = (), **given: Any) -> AlertRule:
    """`given`: FIELDS; `function`: id or name, all of the owner's when empty. Raises InvalidRequest, AlertExists."""
    who, now = principal_var.get(), timezone.now()
    rule = AlertRule(owner_id=who.user_id, role=who.role, state_since=now, **given)
    _check(rule, function)
    wanted = alert_channels.addresses(channels, {})
    with transaction.atomic():
        quotas.lock_growth(who.user_id)
        if AlertRule.objects.filter(owner_id=who.user_id).count() >= MAX_ALERTS:
            raise InvalidRequest(f"There may be at most {MAX_ALERTS} alerts. Delete one first.")
        _save(rule)
        alert_channels.store(rule, wanted)
        audit.record("alert.create", "alert", rule.pk, rule.name, after=_state(rule))
    return rule


def alert_update(
    reference: str, *, function: str | None = None, channels: Sequence[Mapping[str, Any]] | None = None, **given: Any
) -> AlertRule:
    """Change what is given. Channels are replaced: those that are named by their id keep what is not given. Raises
    AlertNotFound, InvalidRequest, AlertExists."""
    with transaction.atomic():
        rule = alert_get(reference, for_update=True)
        before = _state(rule)
        who = principal_var.get()
        if rule.owner_id == who.user_id:
            rule.role = who.role
        for field, value in given.items():
            setattr(rule, field, value)
        _check(rule, function)
        if before["enabled"] and not rule.enabled:
            _close(rule)
        _save(rule)
        if channels is not None:
            alert_channels.store(rule, alert_channels.addresses(channels, _known(rule)))
        audit.record("alert.update", "alert", rule.pk, rule.name, before=before, after=_state(rule))
    return rule


def alert_delete(reference: str) -> None:
    """What is on its way to its channels is not sent any more; the history stays. Raises AlertNotFound."""
    with transaction.atomic():
        rule = alert_get(reference, for_update=True)
        audit.record("alert.delete", "alert", rule.pk, rule.name, before=_state(rule))
        rule.delete()


def alert_silence(reference: str, until: datetime) -> AlertRule:
    """Its channels hear nothing until then; it is looked at all the same. Raises AlertNotFound, InvalidRequest."""
    now = timezone.now()
    if not now < until <= now + MAX_SILENCE:
        message = "Must be in the future, at most a year away."
        raise InvalidRequest(f"until: {message}", details={"until": [message]})
    return _silence(reference, until, "alert.silence")


def alert_unsilence(reference: str) -> AlertRule:
    """What its channels missed and is still true, they hear at the next look. Raises AlertNotFound."""
    return _silence(reference, None, "alert.unsilence")


def _silence(reference: str, until: datetime | None, action: str) -> AlertRule:
    with transaction.atomic():
        rule = alert_get(reference, for_update=True)
        before = {"silenced_until": rule.silenced_until}
        rule.silenced_until = until
        rule.save(update_fields=["silenced_until"])
        audit.record(action, "alert", rule.pk, rule.name, before=before, after={"silenced_until": until})
    return rule


def alert_test(reference: str) -> list[AlertNotification]:
    """A message to each channel, also while it is silenced; committed when this returns. Raises AlertNotFound,
    InvalidRequest when there is nobody to tell."""
    with transaction.atomic():
        rule, now = alert_get(reference), timezone.now()
        measured = Measured(rule.last_value, rule.last_samples)
        reason = "Somebody asked for this message to see whether it arrives."
        message = alert_evaluation.message_of(rule, Told.TEST, measured, reason, now)
        sent = notifications.add(rule, Told.TEST, message, now)
        if not sent:
            raise InvalidRequest("The alert has no channels.", details={"channels": ["There are none."]})
        audit.record("alert.test", "alert", rule.pk, rule.name)
    return sent


def changes_of(rule: AlertRule) -> QuerySet[AlertChange]:
    """Newest first."""
    return AlertChange.objects.filter(rule_id=rule.pk).order_by("-at", "-id")


def notifications_of(rule: AlertRule) -> QuerySet[AlertNotification]:
    """Newest first."""
    return AlertNotification.objects.filter(rule_id=rule.pk).order_by("-created_at", "-id")


def shown_channels(rule: AlertRule) -> list[dict[str, Any]]:
    """Without what is secret: ``{id, type, url, has_secret}`` or ``{id, type, to}``."""
    shown = []
    for channel in rule.channels.order_by("place"):
        row: dict[str, Any] = {"id": str(channel.pk), "type": channel.type}
        try:
            address = alert_channels.address_of(channel)
        except Undecryptable:
            row["unreadable"] = True
        else:
            is_mail = address.type is ChannelType.EMAIL
            row |= {"to": list(address.to)} if is_mail else {"url": address.shown, "has_secret": bool(address.secret)}
        shown.append(row)
    return shown


def _known(rule: AlertRule) -> dict[UUID, Address]:
    found = {}
    for channel in rule.channels.all():
        try:
            found[channel.pk] = alert_channels.address_of(channel)
        except Undecryptable:
            # It must be given whole.
            found[channel.pk] = Address(type=ChannelType(channel.type))
    return found


def _check(rule: AlertRule, function: str | None) -> None:
    if problem := threshold_problem(Kind(rule.kind), rule.threshold):
        raise InvalidRequest(f"threshold: {problem}", details={"threshold": [problem]})
    if function is None:
        return
    rule.function_id, rule.function_name = None, ""
    if function:
        try:
            with acting_as(standing.principal_of(rule.owner_id, rule.role)):
                found = function_get(function)
        except FunctionNotFound as error:
            raise InvalidRequest(f"function: {error.message}", details={"function": [error.message]}) from error
        rule.function_id, rule.function_name = found.pk, found.name


def _close(rule: AlertRule) -> None:
    """Nobody looks at it from now on: what its channels take for going on is over."""
    if rule.state != State.FIRING:
        return
    tell = Told.RESOLVED if rule.told_firing else None
    decision = Decision(State.RESOLVED, "The alert was disabled.", tell)
    now = timezone.now()
    alert_evaluation.conclude(rule, decision, Measured(rule.last_value, rule.last_samples), now)
    rule.state, rule.told_firing, rule.state_since, rule.evaluated_at = State.RESOLVED, False, now, now


def _save(rule: AlertRule) -> None:
    try:
        with transaction.atomic():
            rule.save()
    except IntegrityError as error:
        raise AlertExists(f"An alert named {rule.name} exists already.") from error


def _state(rule: AlertRule) -> dict[str, Any]:
    """For the audit log: no secret."""
    channels = [f"{channel.type}: {channel.shown}" for channel in rule.channels.order_by("place")] if rule.pk else []
    fields = {field: getattr(rule, field) for field in FIELDS}
    return fields | {"function": rule.function_name, "channels": channels}
