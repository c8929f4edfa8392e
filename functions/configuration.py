"""What a run is given besides its version: the function's secrets, and the overrides of an environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import F

from functions.models import Environment, Function, FunctionEnvironment, Secret
from nimbus_project.core.crypto import Undecryptable, keyring


class SecretUnreadable(Exception):
    """A stored secret can't be decrypted with the keys of this process. The message names it, never its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What one environment changes for one function; None and empty: nothing."""

    environment: str = ""
    """Its name."""
    env_vars: Mapping[str, str] = field(default_factory=dict, repr=False)
    memory_mb: int | None = None
    timeout_sec: int | None = None
    active_alias: str = ""


NOTHING = Overrides()


def place_of(function_id: UUID | str, name: str) -> str:
    """Where a secret's ciphertext belongs; it decrypts nowhere else."""
    return f"secret/{function_id}/{name}"


def secret_values(function_id: UUID | str) -> dict[str, str]:
    """In clear, for a sandbox and nobody else. Raises SecretUnreadable."""
    values = {}
    for name, ciphertext in Secret.objects.filter(function_id=function_id).values_list("name", "ciphertext"):
        try:
            values[name] = keyring().decrypt(bytes(ciphertext), place_of(function_id, name))
        except Undecryptable as error:
            raise SecretUnreadable(f"The secret {name} can't be decrypted: {error}") from error
    return values


def overrides_of(function_id: UUID | str, environment: str) -> Overrides | None:
    """Of one environment, by name; None when there is no such environment."""
    if not environment:
        return NOTHING
    rows = FunctionEnvironment.objects.filter(function_id=function_id, environment__name=environment)
    row = rows.select_related("environment").first()
    if row is not None:
        return _overrides(row)
    return Overrides(environment=environment) if Environment.objects.filter(name=environment).exists() else None


def overrides_by_function(functions: Iterable[Function]) -> dict[UUID, dict[str, Overrides]]:
    """Of every environment there is, by name and by id."""
    ids = [function.pk for function in functions]
    rows = FunctionEnvironment.objects.filter(function_id__in=ids).select_related("environment")
    changed = {(row.function_id, row.environment_id): _overrides(row) for row in rows}
    found: dict[UUID, dict[str, Overrides]] = {function_id: {} for function_id in ids}
    for environment_id, name in Environment.objects.values_list("pk", "name"):
        for function_id in ids:
            overrides = changed.get((function_id, environment_id)) or Overrides(environment=name)
            found[function_id][str(environment_id)] = found[function_id][name] = overrides
    return found


def advance(*function_ids: UUID) -> None:
    """Begin the next generation of these functions: what sandboxes were given so far is outdated. In the transaction of
    the change."""
    Function.objects.filter(pk__in=function_ids).update(generation=F("generation") + 1)


def _overrides(row: FunctionEnvironment) -> Overrides:
    return Overrides(
        environment=row.environment.name,
        env_vars=row.env_vars,
        memory_mb=row.memory_mb,
        timeout_sec=row.timeout_sec,
        active_alias=row.active_alias,
    )
