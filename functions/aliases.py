"""Aliases: movable names of versions. Every change is made under the function's row lock, so that it can't cross the
deletion of a version or a step of a rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from accounts import audit
from functions import directory
from functions.directory import LATEST
from functions.errors import AliasBusy, AliasExists, AliasNotFound
from functions.models import Alias, Function, Rollout
from functions.rollout_policy import OPEN
from functions.routing import FULL, Weights, as_stored, as_weights, weights_problem
from functions.selectors import function_get
from nimbus_project.core.errors import InvalidRequest

GivenWeights = Sequence[Mapping[str, Any]]


def aliases_of(function: Function) -> QuerySet[Alias]:
    """By name. `latest` is not among them: it has no row."""
    return Alias.objects.filter(function=function).order_by("name")


def alias_get(function: Function, name: str) -> Alias:
    """Also `latest`, as an unsaved row. Raises AliasNotFound."""
    if name == LATEST:
        return _latest(function)
    alias = Alias.objects.filter(function=function, name=name).first() if "\0" not in name else None
    if alias is None:
        raise AliasNotFound(f"The function {function.name} has no alias of this name.")
    return alias


def _latest(function: Function) -> Alias:
    number = function.latest_version
    return Alias(
        function=function,
        name=LATEST,
        description="Always the newest version.",
        weights=as_stored(((number, FULL),)) if number else [],
        created_at=function.created_at,
        updated_at=function.last_deployed_at or function.created_at,
    )


def alias_create(reference: str, *, name: str, weights: GivenWeights, description: str = "") -> Alias:
    """Raises FunctionNotFound, AliasExists, InvalidRequest for weights that break a rule or for `latest`."""
    check_name(name)
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        if Alias.objects.filter(function=function, name=name).exists():
            raise AliasExists(f"The function {function.name} has an alias {name} already. Change it with PUT.")
        return _make(function, name, checked_weights(function, weights), description)


def alias_update(
    reference: str, name: str, *, weights: GivenWeights | None = None, description: str | None = None
) -> Alias:
    """Change what is given. Raises FunctionNotFound, AliasNotFound, AliasBusy, InvalidRequest."""
    check_name(name)
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        alias = alias_get(function, name)
        before = state(alias)
        if weights is not None:
            check_no_rollout(alias)
            alias.weights = as_stored(checked_weights(function, weights))
        if description is not None:
            alias.description = description
        alias.save(update_fields=["weights", "description", "updated_at"])
        audit.record("alias.update", "alias", alias.pk, _full_name(alias), before=before, after=state(alias))
        directory.changed(function)
    return alias


def alias_delete(reference: str, name: str) -> None:
    """Calls through it get a 404 from then on. Raises FunctionNotFound, AliasNotFound, AliasBusy, InvalidRequest."""
    check_name(name)
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        alias = alias_get(function, name)
        check_no_rollout(alias)
        audit.record("alias.delete", "alias", alias.pk, _full_name(alias), before=state(alias))
        alias.delete()
        directory.changed(function)


def point(function: Function, name: str, version: int) -> Alias:
    """Send all calls through this alias to a version; makes the alias if need be. Under the function's row lock.
    Raises AliasBusy, InvalidRequest."""
    check_name(name)
    alias = Alias.objects.filter(function=function, name=name).first()
    if alias is None:
        return _make(function, name, ((version, FULL),), "")
    check_no_rollout(alias)
    before = state(alias)
    move(alias, ((version, FULL),))
    audit.record("alias.update", "alias", alias.pk, _full_name(alias), before=before, after=state(alias))
    return alias


def put(function: Function, name: str, *, weights: GivenWeights, description: str) -> Alias:
    """Make it or set both. Under the function's row lock. While the function has no version that can run, its aliases
    may name versions that are being built. Raises AliasBusy, InvalidRequest."""
    check_name(name)
    if function.latest_version:
        checked_weights(function, weights)
    elif problem := weights_problem(weights):
        raise InvalidRequest(problem, details={"routing_config.weights": [problem]})
    alias = Alias.objects.filter(function=function, name=name).first()
    if alias is None:
        return _make(function, name, as_weights(weights), description)
    check_no_rollout(alias)
    before = state(alias)
    alias.description = description
    alias.weights = as_stored(as_weights(weights))
    alias.save(update_fields=["weights", "description", "updated_at"])
    if state(alias) != before:
        audit.record("alias.update", "alias", alias.pk, _full_name(alias), before=before, after=state(alias))
    directory.changed(function)
    return alias


def move(alias: Alias, weights: Weights) -> None:
    """Set the weights, under the function's row lock; every process hears of it."""
    alias.weights = as_stored(weights)
    alias.save(update_fields=["weights", "updated_at"])
    directory.changed(alias.function)


def check_name(name: str) -> None:
    """Raises InvalidRequest for the name that can't be given away."""
    if name == LATEST:
        message = "The alias latest always points to the newest version: it can't be made, changed or deleted."
        raise InvalidRequest(message, details={"name": [message]})


def check_no_rollout(alias: Alias) -> None:
    """Raises AliasBusy while a rollout moves the traffic of this alias."""
    if Rollout.objects.filter(alias=alias, status__in=OPEN).exists():
        raise AliasBusy(f"A rollout is moving the traffic of {alias.name}. Abort it or wait for its end.")


def checked_weights(function: Function, given: GivenWeights) -> Weights:
    """Raises InvalidRequest that says which rule they break."""
    if problem := weights_problem(given) or _versions_problem(function, given):
        raise InvalidRequest(problem, details={"routing_config.weights": [problem]})
    return as_weights(given)


def _versions_problem(function: Function, given: GivenWeights) -> str:
    wanted = [side["version"] for side in given]
    # Larger numbers don't fit the column; no version has them.
    ready = dict(
        function.versions.filter(version__in=[n for n in wanted if n < 2**31]).values_list("version", "is_ready")
    )
    for number in wanted:
        if number not in ready:
            return f"Version {number} does not exist."
        if not ready[number]:
            return f"Version {number} can't run: its build has not ended well."
    return ""


def _make(function: Function, name: str, weights: Weights, description: str) -> Alias:
    try:
        with transaction.atomic():
            alias = Alias.objects.create(
                function=function, name=name, description=description, weights=as_stored(weights)
            )
    except IntegrityError as error:
        raise AliasExists(f"The function {function.name} has an alias {name} already.") from error
    audit.record("alias.create", "alias", alias.pk, _full_name(alias), after=state(alias))
    directory.changed(function)
    return alias


def _full_name(alias: Alias) -> str:
    return f"{alias.function.name}:{alias.name}"


def state(alias: Alias) -> dict[str, Any]:
    """For the audit log."""
    return {"description": alias.description, "weights": list(alias.weights)}
