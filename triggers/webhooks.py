"""Webhooks: an address with a key in it that calls a function. Every change is made under the function's row lock.

The key is made once and kept when the webhook is disabled; `regenerate` makes another, and the old address is gone.
"""

from __future__ import annotations

import secrets as chance
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from accounts import audit
from functions import directory, webhook_keys
from functions.models import Function
from functions.selectors import function_get
from nimbus_project.core.crypto import Undecryptable
from nimbus_project.core.errors import InvalidRequest
from triggers.models import Webhook
from triggers.signing import DEFAULT_TOLERANCE_SEC, TIMED, Scheme, key_of
from triggers.webhook_directory import digest_of, seal_secrets, secrets_of

KEY_START = "whk_"
SETTINGS = ("ip_allow", "rate_limit_per_min", "mode")


@dataclass(frozen=True, slots=True)
class OwnWebhook:
    """A function's webhook as its owner sees it. `row` is None while nobody has asked for one."""

    function: Function
    row: Webhook | None
    secret_count: int = 0


def webhook_get(reference: str) -> OwnWebhook:
    """Raises FunctionNotFound."""
    function = function_get(reference)
    row = Webhook.objects.filter(function=function).first()
    return OwnWebhook(function, row, _secret_count(row) if row is not None else 0)


def webhook_switch(reference: str, *, enabled: bool) -> OwnWebhook:
    """Let calls in or not; makes the webhook, with its key, if need be. Raises FunctionNotFound."""
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        row = _row(function)
        if enabled and not webhook_keys.key_of(function):
            # The one there is can't be read any more, so it can't be shown either.
            _give_key(function, row)
        before = {"enabled": function.webhook_enabled}
        function.webhook_enabled = enabled
        function.save(update_fields=["webhook_enabled", "updated_at"])
        _record("webhook.enable" if enabled else "webhook.disable", function, before, {"enabled": enabled})
        directory.changed(function)
    return OwnWebhook(function, row)


def webhook_regenerate(reference: str) -> OwnWebhook:
    """Another key; the old address is gone at once. Raises FunctionNotFound."""
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        row = _row(function)
        _give_key(function, row)
        _record("webhook.regenerate", function, None, {"enabled": function.webhook_enabled})
        directory.changed(function)
    return OwnWebhook(function, row)


def webhook_configure(reference: str, given: Mapping[str, Any]) -> OwnWebhook:
    """Change what is there of `signature`, `ip_allow`, `rate_limit_per_min`, `mode`; shapes were checked. Raises
    FunctionNotFound, InvalidRequest."""
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        row = _row(function)
        before = state(row)
        for key in SETTINGS:
            if key in given:
                setattr(row, key, given[key])
        if "signature" in given:
            _sign(row, given["signature"])
        row.save()
        after = state(row)
        if after != before or "secret" in given.get("signature", {}):
            _record("webhook.update", function, before, after)
        directory.changed(function)
    return OwnWebhook(function, row, _secret_count(row))


def _secret_count(row: Webhook) -> int:
    """One that can't be read is there all the same."""
    try:
        return len(secrets_of(row))
    except Undecryptable:
        return 1


def reencrypt(function_id: UUID) -> bool:
    """Encrypt the key and the secrets of a webhook again with the newest key. False when it is gone. Raises
    Undecryptable."""
    with transaction.atomic():
        function = Function.objects.select_for_update().filter(pk=function_id).first()
        row = Webhook.objects.filter(pk=function_id).first()
        if function is None or row is None:
            return False
        key = webhook_keys.key_of(function)
        if not key:
            raise Undecryptable("None of the keys opens it.")
        Function.objects.filter(pk=function_id).update(webhook_ciphertext=webhook_keys.seal(function_id, key))
        sealed = seal_secrets(function_id, secrets_of(row))
        Webhook.objects.filter(pk=function_id).update(secrets_ciphertext=sealed)
    return True


def state(row: Webhook) -> dict[str, Any]:
    """For the audit log: no secret."""
    signature = {"scheme": row.scheme, "header": row.header, "tolerance_sec": row.tolerance_sec}
    return {"signature": signature, **{key: getattr(row, key) for key in SETTINGS}}


def _row(function: Function) -> Webhook:
    row = Webhook.objects.filter(function=function).first()
    if row is None:
        row = Webhook(function=function)
        _give_key(function, row)
    return row


def _give_key(function: Function, row: Webhook) -> None:
    key = KEY_START + chance.token_urlsafe(32)
    row.key_sha256 = digest_of(key).hex()
    row.save()
    function.webhook_ciphertext = webhook_keys.seal(function.pk, key)
    function.save(update_fields=["webhook_ciphertext", "updated_at"])


def _sign(row: Webhook, given: Mapping[str, Any]) -> None:
    scheme = Scheme(given["scheme"])
    secrets = _secrets(row, scheme, given)
    row.secrets_ciphertext = seal_secrets(row.function_id, secrets)
    if scheme != row.scheme or "header" in given:
        row.header = given.get("header", "").lower()
    if scheme != row.scheme or "tolerance_sec" in given:
        row.tolerance_sec = given.get("tolerance_sec", DEFAULT_TOLERANCE_SEC[scheme])
    row.scheme = scheme
    if row.header and scheme in (Scheme.NONE, Scheme.STANDARD):
        raise _refused("header", f"The scheme {scheme} has no header that could be named otherwise.")
    if scheme in TIMED and row.tolerance_sec < 1:
        raise _refused("tolerance_sec", f"Must be at least 1: a signature of {scheme} says when it was made.")


def _secrets(row: Webhook, scheme: Scheme, given: Mapping[str, Any]) -> Sequence[str]:
    """Those that are accepted from now on. An absent secret stays, as long as the scheme does."""
    if scheme is Scheme.NONE:
        if given.get("secret") or given.get("previous_secret"):
            raise _refused("secret", "The scheme none has no secret: choose another scheme.")
        return ()
    kept = _kept(row) if scheme == row.scheme and "secret" not in given else []
    found = {"secret": given.get("secret") or "".join(kept[:1])}
    if not found["secret"]:
        raise _refused("secret", f"The scheme {scheme} needs one.")
    found["previous_secret"] = given.get("previous_secret", "".join(kept[1:]))
    accepted = {field: secret for field, secret in found.items() if secret}
    for field, secret in accepted.items():
        try:
            key_of(scheme, secret)
        except ValueError as error:
            raise _refused(field, str(error)) from error
    return tuple(accepted.values())


def _kept(row: Webhook) -> list[str]:
    try:
        return secrets_of(row)
    except Undecryptable as error:
        raise _refused("secret", "The one there is can't be read any more. Give it again.") from error


def _refused(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"signature.{field}: {message}", details={f"signature.{field}": [message]})


def _record(action: str, function: Function, before: audit.State | None, after: audit.State) -> None:
    audit.record(action, "webhook", function.pk, function.name, before=before, after=after)
