"""Environments: named sets (dev, staging, prod) of what a call changes about a function's version.

Like secrets they are no part of a version: a change begins the next generation of the functions it concerns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet

from accounts import audit
from accounts.visibility import visible
from functions import aliases, allowance, configuration, directory
from functions.errors import AliasNotFound, EnvironmentExists, EnvironmentInUse, EnvironmentNotFound
from functions.models import Environment, Function, FunctionEnvironment
from functions.selectors import NAME_PATTERN, function_get
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.ids import as_uuid

MAX_ENVIRONMENTS = 100
"""Every web process keeps all of them with every function it knows."""
FIELDS = ("env_vars", "memory_mb", "timeout_sec", "active_alias")

_NAME = re.compile(NAME_PATTERN[1:-1])


def environments() -> QuerySet[Environment]:
    """By name."""
    return Environment.objects.order_by("name")


def environment_get(reference: str, *, for_update: bool = False) -> Environment:
    """By id or name. Raises EnvironmentNotFound. `for_update` needs a transaction."""
    rows = Environment.objects.select_for_update() if for_update else Environment.objects.all()
    uuid = as_uuid(reference)
    named = Q(name=reference) if _NAME.fullmatch(reference) else None
    where = Q(pk=uuid) | Q(name=reference) if uuid else named
    # An id wins over another environment that was named like it.
    found = sorted(rows.filter(where), key=lambda row: row.pk != uuid) if where is not None else []
    if not found:
        raise EnvironmentNotFound("There is no environment of this id or name.")
    return found[0]


def environment_create(*, name: str, description: str = "") -> Environment:
    """Raises EnvironmentExists, InvalidRequest when there are too many."""
    try:
        with transaction.atomic():
            if Environment.objects.count() >= MAX_ENVIRONMENTS:
                raise InvalidRequest(f"There may be at most {MAX_ENVIRONMENTS} environments. Delete one first.")
            environment = Environment.objects.create(name=name, description=description)
            _record("environment.create", environment, after=_state(environment))
            directory.everything_changed()
    except IntegrityError as error:
        raise EnvironmentExists(f"An environment named {name} exists already.") from error
    return environment


def environment_update(reference: str, *, name: str = "", description: str | None = None) -> Environment:
    """Change the description, if one is given. Raises EnvironmentNotFound, InvalidRequest for another name."""
    with transaction.atomic():
        environment = environment_get(reference, for_update=True)
        if name and name != environment.name:
            # Queued invocations and the history know it by its name.
            message = "The name of an environment can't change. Create another one."
            raise InvalidRequest(message, details={"name": [message]})
        before = _state(environment)
        environment.description = environment.description if description is None else description
        environment.save()
        _record("environment.update", environment, before=before, after=_state(environment))
    return environment


def environment_delete(reference: str) -> None:
    """With what it changes of every function. Queued invocations in it end with an error that says so. Raises
    EnvironmentNotFound, EnvironmentInUse."""
    with transaction.atomic():
        rows = FunctionEnvironment.objects.filter(environment=environment_get(reference))
        if rows.exclude(visible("function__")).exists():
            raise EnvironmentInUse("It changes functions that are not yours. Ask an administrator to delete it.")
        # Functions before the environment, as everybody locks who changes what it changes of one: no deadlock.
        mine = Function.objects.filter(pk__in=rows.values("function")).order_by("pk")
        concerned = set(mine.select_for_update().values_list("pk", flat=True))
        environment = environment_get(reference, for_update=True)
        if concerned != set(rows.values_list("function", flat=True)):
            # One more came between the two locks, and to lock it now might wait for who waits for us.
            raise EnvironmentInUse("It was changed at this moment. Try again.")
        _record("environment.delete", environment, before=_state(environment))
        configuration.advance(*concerned)
        environment.delete()
        directory.everything_changed()


def overrides_get(
    function: Function, reference: str, *, for_update: bool = False
) -> tuple[Environment, FunctionEnvironment]:
    """What an environment changes of a function; an unsaved row when it changes nothing. Raises EnvironmentNotFound."""
    environment = environment_get(reference, for_update=for_update)
    row = FunctionEnvironment.objects.filter(function=function, environment=environment).first()
    return environment, row or FunctionEnvironment(function=function, environment=environment)


def overrides_set(function_reference: str, reference: str, given: Mapping[str, Any]) -> FunctionEnvironment:
    """Replace all of it: what is absent from `given` is as the version has it. Raises FunctionNotFound,
    EnvironmentNotFound, InvalidRequest for an alias that is not there, QuotaExceeded."""
    with transaction.atomic():
        function = function_get(function_reference, for_update=True)
        environment, row = overrides_get(function, reference, for_update=True)
        before, used_mb = _overrides_state(row), allowance.memory_mb_of(function)
        if alias := given.get("active_alias", ""):
            _check_alias(function, alias)
        row.env_vars = dict(given.get("env_vars") or {})
        row.memory_mb, row.timeout_sec = given.get("memory_mb"), given.get("timeout_sec")
        row.active_alias = given.get("active_alias", "")
        row.save()
        allowance.admit_memory(function, allowance.memory_mb_of(function) - used_mb)
        _record_overrides("environment.set", function, environment, before=before, after=_overrides_state(row))
        configuration.advance(function.pk)
        directory.changed(function)
    return row


def _check_alias(function: Function, alias: str) -> None:
    """What a body names and is not there is the body's mistake; 404 is for addresses."""
    try:
        aliases.alias_get(function, alias)
    except AliasNotFound as error:
        raise InvalidRequest(f"active_alias: {error.message}", details={"active_alias": [error.message]}) from error


def overrides_delete(function_reference: str, reference: str) -> None:
    """The function is in this environment as its version says. Raises FunctionNotFound, EnvironmentNotFound."""
    with transaction.atomic():
        function = function_get(function_reference, for_update=True)
        environment, row = overrides_get(function, reference, for_update=True)
        if row.pk is None:
            raise EnvironmentNotFound(f"The environment {environment.name} changes nothing of {function.name}.")
        _record_overrides("environment.clear", function, environment, before=_overrides_state(row))
        row.delete()
        configuration.advance(function.pk)
        directory.changed(function)


def _state(environment: Environment) -> dict[str, Any]:
    return {"name": environment.name, "description": environment.description}


def _overrides_state(row: FunctionEnvironment) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIELDS}


def _record(action: str, environment: Environment, **states: Any) -> None:
    audit.record(action, "environment", environment.pk, environment.name, **states)


def _record_overrides(action: str, function: Function, environment: Environment, **states: Any) -> None:
    audit.record(action, "function", function.pk, f"{function.name}@{environment.name}", **states)
