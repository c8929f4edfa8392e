"""The key of a function's webhook, and the address that it is part of.

Who has the key may call, so the database has it twice and in clear never: its sha256, by which a call is found
(triggers/webhooks.py), and its ciphertext, from which the address is shown to those who may change the function. The
keys that open the ciphertext are not in the database.
"""

from __future__ import annotations

import logging
from uuid import UUID

from accounts.principal import principal_var
from accounts.rights import ROLES_WITH, Right
from functions.models import Function
from nimbus_project.config import config
from nimbus_project.core.crypto import Undecryptable, keyring

log = logging.getLogger("nimbus.webhooks")


def seal(function_id: UUID, key: str) -> bytes:
    return keyring().encrypt(key, _place(function_id))


def key_of(function: Function) -> str:
    """Empty when it has none, or one that no key of this process opens."""
    if function.webhook_ciphertext is None:
        return ""
    try:
        return keyring().decrypt(bytes(function.webhook_ciphertext), _place(function.pk))
    except Undecryptable:
        log.error("the key of a webhook can't be decrypted", extra={"function": function.name})
        return ""


def url_of(function: Function) -> str:
    """Of a webhook that is enabled, for those who may change the function; empty for all others."""
    if not function.webhook_enabled or principal_var.get().role not in ROLES_WITH[Right.WRITE]:
        return ""
    key = key_of(function)
    return address(key) if key else ""


def address(key: str) -> str:
    return f"{config().public}/webhook/{key}"


def _place(function_id: UUID) -> str:
    return f"webhook/{function_id}/key"
