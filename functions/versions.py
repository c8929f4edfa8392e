"""Versions: read, publish, roll back, delete. Numbers come from `Function.last_number` under the row lock."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet

from accounts import audit
from accounts.principal import principal_var
from functions import aliases, allowance, builds, directory, packages
from functions.errors import VersionInUse, VersionNotFound, VersionNotReady
from functions.models import Alias, Function, FunctionStatus, FunctionVersion, Rollout
from functions.preconditions import ANY, Expected
from functions.rollout_policy import OPEN
from functions.selectors import function_get

MAX_NUMBER = 2**31 - 1
"""Of the column; a larger number in an address is no version."""


def versions_of(function: Function, *, with_code: bool) -> QuerySet[FunctionVersion]:
    """Newest first."""
    rows = function.versions.select_related("package").order_by("-version")
    return rows if with_code else rows.defer("package__data")


def version_get(function: Function, number: int) -> FunctionVersion:
    """Raises VersionNotFound."""
    rows = function.versions.select_related("package", "artifact")
    row = rows.filter(version=number).first() if 0 < number <= MAX_NUMBER else None
    if row is None:
        raise VersionNotFound(f"The function {function.name} has no version {number}.")
    return row


def version_before(function: Function, number: int) -> FunctionVersion | None:
    """The next older one that is still there."""
    return function.versions.select_related("package").filter(version__lt=number).order_by("-version").first()


def publish(reference: str, *, description: str = "", publish_alias: str = "") -> FunctionVersion:
    """The newest content under a description of its own, as a new version; without a description there is nothing new
    to say and the newest version is the answer as it is (as Lambda does). With `publish_alias` that alias, made if need
    be, then sends all calls there. Raises FunctionNotFound, VersionNotReady, AliasBusy."""
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        # A copy made now would have the higher number, and what is being built would never be served.
        if function.status == FunctionStatus.UPDATING or not function.latest_version:
            raise VersionNotReady(f"The newest version of {function.name} can't run yet. Wait for its build.")
        version = version_get(function, function.latest_version)
        if description:
            version = _copy(function, version, description)
            audit.record("version.publish", "version", version.pk, function.name, after=_state(version))
        if publish_alias:
            aliases.point(function, publish_alias, version.version)
    return version


def rollback(reference: str, number: int, expected: Expected = ANY) -> Function:
    """A new version with the content of version `number`, its artifact reused: served at once, also before a build that
    is still under way. Raises FunctionNotFound, VersionNotFound, VersionNotReady, QuotaExceeded,
    PreconditionFailed."""
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        expected.check(function.last_number)
        source = version_get(function, number)
        if not source.is_ready:
            raise VersionNotReady(f"Version {number} of {function.name} was never built to its end: it can't run.")
        before = {"version": function.latest_version}
        version = _copy(function, source, f"Version {number} again.")
        after = {"version": version.version, "content_of": number}
        audit.record("function.rollback", "function", function.pk, function.name, before=before, after=after)
    return function


def version_delete(reference: str, number: int) -> None:
    """Raises FunctionNotFound, VersionNotFound, VersionInUse with what needs it. Queued invocations of it end with an
    error that says so."""
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        version = version_get(function, number)
        if reason := _needed_by(function, number):
            raise VersionInUse(f"Version {number} of {function.name} can't be deleted: {reason}.")
        audit.record("version.delete", "version", version.pk, function.name, before=_state(version))
        version.delete()
        packages.remove_unused([version.package_id])
        directory.changed(function)


def _needed_by(function: Function, number: int) -> str:
    """Why a version must stay, or ""."""
    # The highest number too when its build has failed: there the build can be asked for again.
    if number in (function.latest_version, function.last_number):
        return "it is the newest"
    if builds.is_building(function, version=number):
        return "it is being built"
    for alias in Alias.objects.filter(function=function):
        if any(side["version"] == number for side in alias.weights):
            return f"the alias {alias.name} sends calls to it"
    for rollout in Rollout.objects.select_related("alias").filter(alias__function=function, status__in=OPEN):
        if number == rollout.version or any(side["version"] == number for side in rollout.weights_before):
            return f"the rollout of the alias {rollout.alias.name} may go back to it"
    return ""


def _copy(function: Function, source: FunctionVersion, description: str) -> FunctionVersion:
    """The next version, with the same content, live at once. Under the function's row lock."""
    function.last_number += 1
    function.save(update_fields=["last_number", "updated_at"])
    version = FunctionVersion.objects.create(
        function=function,
        version=function.last_number,
        handler=source.handler,
        language=source.language,
        package=source.package,
        artifact=source.artifact,
        dependencies=source.dependencies,
        layers=source.layers,
        memory_mb=source.memory_mb,
        timeout_sec=source.timeout_sec,
        env_vars=source.env_vars,
        network=source.network,
        input_schema=source.input_schema,
        description=description,
        created_by=principal_var.get().name,
    )
    allowance.admit(function, version)
    builds.go_live(function, version)
    return version


def _state(version: FunctionVersion) -> dict[str, object]:
    """For the audit log."""
    return {
        "version": version.version,
        "handler": version.handler,
        "code_hash": version.package_id,
        "memory_mb": version.memory_mb,
        "timeout_sec": version.timeout_sec,
        "env_vars": version.env_vars,
        "network": version.network,
        "input_schema": version.input_schema,
        "description": version.description,
    }
