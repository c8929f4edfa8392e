"""Where alerts go: checked when they are set, encrypted at rest, shown without what may be secret in an address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

import httpx
import orjson
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from nimbus_project.config import config
from nimbus_project.core import outgoing
from nimbus_project.core.crypto import keyring
from nimbus_project.core.errors import InvalidRequest
from triggers.models import AlertChannel, AlertRule

MAX_CHANNELS = 10
MAX_RECIPIENTS = 20
MAX_SECRET = 256


class ChannelType(StrEnum):
    WEBHOOK = "webhook"
    """JSON by POST; signed as Standard Webhooks when it has a secret."""
    SLACK = "slack"
    """An incoming webhook of Slack, or of what understands its words."""
    EMAIL = "email"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a channel leads: all of it secret."""

    type: ChannelType
    url: str = ""
    secret: str = ""
    to: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """Without a URL's path and query, which are the key to Slack's, and often to others."""
        return ", ".join(self.to)[:300] if self.type is ChannelType.EMAIL else masked(self.url)


def masked(url: str) -> str:
    parsed = httpx.URL(url)
    origin = f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"
    return origin[:290] + ("/…" if parsed.raw_path not in (b"", b"/") else "")


def addresses(given: Sequence[Mapping[str, Any]], known: Mapping[UUID, Address]) -> list[tuple[UUID | None, Address]]:
    """What is to be stored, in order, each with the id of the channel that it changes. `known`: those of the rule as
    it is; one that is named by its id keeps what is not given. Raises InvalidRequest."""
    if len(given) > MAX_CHANNELS:
        _refuse("channels", f"Must be at most {MAX_CHANNELS}.")
    found = [_address(one, known, f"channels.{number}") for number, one in enumerate(given)]
    ids = [pk for pk, _ in found if pk is not None]
    if len(ids) != len(set(ids)):
        _refuse("channels", "A channel is named twice.")
    return found


def _address(given: Mapping[str, Any], known: Mapping[UUID, Address], at: str) -> tuple[UUID | None, Address]:
    pk: UUID | None = given.get("id")
    old = known.get(pk) if pk is not None else None
    if pk is not None and old is None:
        _refuse(f"{at}.id", "The alert has no channel of this id.")
    kind = ChannelType(given["type"])
    if old is not None and old.type is not kind:
        _refuse(f"{at}.type", "The type of a channel can't change. Leave the id out to make another one.")
    if kind is ChannelType.EMAIL:
        return pk, Address(type=kind, to=_recipients(given, old, at))
    if given.get("to"):
        _refuse(f"{at}.to", "Only an email channel has recipients.")
    url = given.get("url") or ""
    if old is not None and url in ("", old.shown):
        url = old.url
    if problem := "Is required." if not url else outgoing.url_problem(url):
        _refuse(f"{at}.url", problem)
    secret = given.get("secret", old.secret if old is not None else "") or ""
    if secret and kind is ChannelType.SLACK:
        _refuse(f"{at}.secret", "Only a webhook has a secret.")
    return pk, Address(type=kind, url=url, secret=secret)


def _recipients(given: Mapping[str, Any], old: Address | None, at: str) -> tuple[str, ...]:
    if not config().smtp_host:
        _refuse(f"{at}.type", "Mail can't be sent: an administrator must set NIMBUS_SMTP_HOST first.")
    for field in ("url", "secret"):
        if given.get(field):
            _refuse(f"{at}.{field}", "An email channel has recipients only.")
    to = tuple(dict.fromkeys(given.get("to") or (old.to if old is not None else ())))
    if not 1 <= len(to) <= MAX_RECIPIENTS:
        _refuse(f"{at}.to", f"Must be 1 to {MAX_RECIPIENTS} addresses.")
    for one in to:
        try:
            validate_email(one)
        except ValidationError:
            _refuse(f"{at}.to", f"{one[:100]!r} is no mail address.")
    return to


def _refuse(field: str, message: str) -> None:
    raise InvalidRequest(f"{field}: {message}", details={field: [message]})


def store(rule: AlertRule, wanted: Sequence[tuple[UUID | None, Address]]) -> None:
    """Replace the rule's channels. In the transaction that changes it."""
    kept = [pk for pk, _ in wanted if pk is not None]
    rule.channels.exclude(pk__in=kept).delete()
    for place, (pk, address) in enumerate(wanted):
        row = AlertChannel(rule=rule, place=place, type=address.type, shown=address.shown)
        if pk is not None:
            row.pk = pk
        row.ciphertext = _seal(row.pk, address)
        row.save(force_insert=pk is None, force_update=pk is not None)


def address_of(channel: AlertChannel) -> Address:
    """Raises Undecryptable."""
    plain = orjson.loads(keyring().decrypt(bytes(channel.ciphertext), _place(channel.pk)))
    return Address(
        type=ChannelType(channel.type),
        url=plain.get("url", ""),
        secret=plain.get("secret", ""),
        to=tuple(plain.get("to", ())),
    )


def reencrypt(channel_id: UUID) -> bool:
    """With the newest key. False when it is gone. Raises Undecryptable."""
    with transaction.atomic():
        row = AlertChannel.objects.select_for_update().filter(pk=channel_id).first()
        if row is None:
            return False
        AlertChannel.objects.filter(pk=row.pk).update(ciphertext=_seal(row.pk, address_of(row)))
    return True


def _seal(channel_id: UUID, address: Address) -> bytes:
    plain = {"url": address.url, "secret": address.secret, "to": list(address.to)}
    return keyring().encrypt(orjson.dumps(plain).decode(), _place(channel_id))


def _place(channel_id: UUID) -> str:
    return f"alert-channel:{channel_id}"
