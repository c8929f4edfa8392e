"""Secrets of a function: environment variables that are written and never shown.

A change is live at once: it begins the function's next generation, and no sandbox of before serves a call after it.
"""

from __future__ import annotations

import re
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from accounts import audit
from functions import configuration, directory
from functions.configuration import place_of
from functions.errors import SecretNotFound
from functions.models import Function, Secret
from functions.selectors import function_get
from nimbus_project.core.crypto import keyring
from nimbus_project.core.errors import InvalidRequest

MAX_SECRETS = 64
MAX_VALUE_BYTES = 16 * 1024
MAX_TOTAL_BYTES = 64 * 1024
"""Names and values of one function together."""
MAX_NAME = 128

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def name_problem(name: str) -> str:
    """Why an environment variable can't be called so, or ""."""
    if not _NAME.match(name):
        return f"{name[:64]!r} is not a valid name: letters, digits and _ only."
    if name.upper().startswith("NIMBUS_"):
        return f"{name[:64]}: names that start with NIMBUS_ are the platform's."
    return ""


def secrets_of(function: Function) -> QuerySet[Secret]:
    """By name, without their ciphertexts."""
    return function.secrets.defer("ciphertext").order_by("name")


def secret_set(reference: str, name: str, value: str) -> tuple[Secret, bool]:
    """Make it or replace its value; True when it is new. Raises FunctionNotFound, InvalidRequest."""
    problem = name_problem(name) or (f"Is longer than {MAX_NAME} characters." if len(name) > MAX_NAME else "")
    if problem:
        raise InvalidRequest(problem, details={"name": [problem]})
    with transaction.atomic():
        # The row lock makes the bounds hold for two who set secrets at once.
        function = function_get(reference, for_update=True)
        _check_bounds(function, name, value)
        ciphertext = keyring().encrypt(value, place_of(function.pk, name))
        secret, is_new = Secret.objects.update_or_create(
            function=function, name=name, defaults={"ciphertext": ciphertext}
        )
        _record("secret.create" if is_new else "secret.update", function, name)
        _changed(function)
    return secret, is_new


def secret_delete(reference: str, name: str) -> None:
    """Raises FunctionNotFound, SecretNotFound."""
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        deleted, _ = Secret.objects.filter(function=function, name=name).delete() if "\0" not in name else (0, {})
        if not deleted:
            raise SecretNotFound(f"The function {function.name} has no secret of this name.")
        _record("secret.delete", function, name)
        _changed(function)


def reencrypt(secret_id: int) -> bool:
    """Encrypt one secret again with the newest key. False when it is gone. Raises Undecryptable."""
    with transaction.atomic():
        secret = Secret.objects.select_for_update().filter(pk=secret_id).first()
        if secret is None:
            return False
        place = place_of(secret.function_id, secret.name)
        ciphertext = keyring().encrypt(keyring().decrypt(bytes(secret.ciphertext), place), place)
        # Its value is the same: neither `updated_at` nor a sandbox has to know.
        Secret.objects.filter(pk=secret_id).update(ciphertext=ciphertext)
    return True


def _check_bounds(function: Function, name: str, value: str) -> None:
    others = configuration.secret_values(function.pk)
    others.pop(name, None)
    if len(others) >= MAX_SECRETS:
        raise InvalidRequest(f"A function may have at most {MAX_SECRETS} secrets. Delete one first.")
    size = len(value.encode())
    if size > MAX_VALUE_BYTES:
        message = f"Is {size} bytes long; at most {MAX_VALUE_BYTES} (16 KiB) are allowed."
        raise InvalidRequest(f"value: {message}", details={"value": [message]})
    total = sum(len(key) + len(text.encode()) for key, text in others.items()) + len(name) + size
    if total > MAX_TOTAL_BYTES:
        message = f"Would make {total} bytes in all; a function's secrets may have {MAX_TOTAL_BYTES} (64 KiB)."
        raise InvalidRequest(f"value: {message}", details={"value": [message]})


def _changed(function: Function) -> None:
    pk: UUID = function.pk
    configuration.advance(pk)
    directory.changed(function)


def _record(action: str, function: Function, name: str) -> None:
    audit.record(action, "secret", function.pk, f"{function.name}/{name}", after={"name": name})
