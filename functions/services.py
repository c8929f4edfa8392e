"""Changing functions. Every rule that needs the database is here; shapes were checked by the serializers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import orjson
from django.db import IntegrityError, transaction

from accounts.principal import principal_var
from functions import allowance, builds, directory, packages
from functions.errors import FunctionExists
from functions.models import Function, FunctionStatus, FunctionTag, FunctionVersion
from functions.preconditions import ANY, Expected
from functions.selectors import function_get, newest_version
from nimbus_project.core import redis
from nimbus_project.core.errors import Conflict, InvalidRequest

# Changing one of these makes a new version; the rest belongs to the function as a whole.
VERSIONED = ("handler", "memory_mb", "timeout_sec", "env_vars", "network", "layers", "language")
UPLOADS = ("code", "binary", "archive")
UNVERSIONED = ("description", "pinned", "max_concurrency", "max_retries", "max_event_age_sec")


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionContent:
    """What a version consists of; equal content makes no new version."""

    handler: str
    package_sha256: str
    language: str = ""
    layers: Sequence[str] = ()
    memory_mb: int = 256
    timeout_sec: int = 30
    env_vars: Mapping[str, str]
    network: str = "none"


def function_create(*, name: str, runtime: str, **given: Any) -> Function:
    """The function with its version 1: active, or creating while that is being built. Raises FunctionExists,
    QuotaExceeded, InvalidRequest for an upload that can't be what it should be."""
    upload = packages.upload_from(runtime, given)
    if upload is None:
        raise InvalidRequest("Give one of code, binary and archive.", details={"code": ["Is required."]})
    settings = {"env_vars": {}} | {key: given[key] for key in VERSIONED if key in given}
    settings["language"] = packages.language_of(runtime, settings["handler"], settings.get("language", ""), upload)
    try:
        with transaction.atomic():
            content = VersionContent(package_sha256=packages.store(upload).sha256, **settings)
            function = Function.objects.create(
                name=name,
                runtime=runtime,
                status=FunctionStatus.CREATING,
                **{key: given[key] for key in UNVERSIONED if key in given},
            )
            _set_tags(function, given.get("tags", ()))
            _add_version(function, content)
            directory.changed(function)
    except IntegrityError as error:
        raise FunctionExists(f"A function named {name} exists already. Choose another name or update it.") from error
    return function


def function_update(reference: str, *, expected: Expected = ANY, **given: Any) -> Function:
    """Change what is given, leave the rest. New code or configuration makes a new version. Raises FunctionNotFound,
    QuotaExceeded, InvalidRequest for another name or runtime, PreconditionFailed when it is not what the client takes it to be."""
    with transaction.atomic():
        # The row lock makes version numbers one counter: two updates at once give two numbers.
        function = function_get(reference, for_update=True)
        expected.check(function.last_number)
        for fixed in ("name", "runtime"):
            if fixed in given and given[fixed] != getattr(function, fixed):
                message = f"The {fixed} of a function can't change. Clone or create another one."
                raise InvalidRequest(message, details={fixed: [message]})
        for key in UNVERSIONED:
            if key in given:
                setattr(function, key, given[key])
        function.save()
        if "tags" in given:
            _set_tags(function, given["tags"])
        upload = packages.upload_from(function.runtime, given)
        old = _content(newest_version(function))
        changes = {key: given[key] for key in VERSIONED if key in given}
        if upload is not None:
            changes["package_sha256"] = packages.store(upload).sha256
        new = _replaced(old, changes)
        if new != old:
            _add_version(function, new)
        directory.changed(function)
    return function


def function_delete(reference: str) -> None:
    """The function and its versions; its invocations stay readable. Raises FunctionNotFound."""
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        used = list(function.versions.values_list("package_id", flat=True).distinct())
        directory.changed(function)
        order = orjson.dumps({"evict": str(function.pk)})
        transaction.on_commit(lambda: redis.publish(redis.CONTROL, order) and None)
        function.delete()
        packages.remove_unused(used)


def function_set_online(reference: str, *, online: bool) -> Function:
    """Take it out of service or put it back. Raises FunctionNotFound, Conflict while it has nothing to run."""
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        if function.status in {FunctionStatus.CREATING, FunctionStatus.FAILED}:
            raise Conflict(f"The function is {function.status}: it has no version that could run.")
        function.status = FunctionStatus.ACTIVE if online else FunctionStatus.OFFLINE
        function.status_message = ""
        function.save(update_fields=["status", "status_message", "updated_at"])
        directory.changed(function)
    return function


def _content(version: FunctionVersion) -> VersionContent:
    return VersionContent(
        handler=version.handler,
        package_sha256=version.package_id,
        language=version.language,
        layers=version.layers,
        memory_mb=version.memory_mb,
        timeout_sec=version.timeout_sec,
        env_vars=version.env_vars,
        network=version.network,
    )


def _replaced(content: VersionContent, given: Mapping[str, Any]) -> VersionContent:
    return VersionContent(**{f.name: given.get(f.name, getattr(content, f.name)) for f in fields(content)})


def _add_version(function: Function, content: VersionContent) -> FunctionVersion:
    """The next version, live at once or when its build has succeeded."""
    function.last_number += 1
    function.save(update_fields=["last_number", "updated_at"])
    version = FunctionVersion.objects.create(
        function=function,
        version=function.last_number,
        handler=content.handler,
        language=content.language,
        package_id=content.package_sha256,
        layers=list(content.layers),
        memory_mb=content.memory_mb,
        timeout_sec=content.timeout_sec,
        env_vars=dict(content.env_vars),
        network=content.network,
        created_by=principal_var.get().name,
    )
    allowance.admit(function, version)
    builds.prepare(function, version)
    return version


def _set_tags(function: Function, tags: Sequence[str]) -> None:
    function.tag_rows.all().delete()
    FunctionTag.objects.bulk_create(FunctionTag(function=function, name=tag) for tag in dict.fromkeys(tags))
