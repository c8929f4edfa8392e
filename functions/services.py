"""Changing functions. Every rule that needs the database is here; shapes were checked by the serializers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import orjson
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.principal import principal_var
from functions import allowance, builds, destinations, directory, packages, routes
from functions.errors import FunctionExists
from functions.models import Function, FunctionStatus, FunctionTag, FunctionVersion
from functions.preconditions import ANY, Expected
from functions.selectors import basis_version, function_get, newest_version, shown_version
from nimbus_project.core import redis
from nimbus_project.core.errors import Conflict, Forbidden, InvalidRequest

# Changing one of these makes a new version; the rest belongs to the function as a whole.
VERSIONED = ("handler", "memory_mb", "timeout_sec", "env_vars", "network", "layers", "language", "input_schema")
UPLOADS = ("code", "binary", "archive")
UNVERSIONED = (
    *("description", "pinned", "shared", "max_concurrency", "max_retries", "max_event_age_sec"),
    *("cron_expression", "cron_timezone", "on_success", "on_failure"),
)
# A clone that ran by itself, beside its original, would surprise.
NOT_CLONED = frozenset({"pinned", "shared", "cron_expression", "cron_timezone"})


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
    input_schema: Mapping[str, Any] = field(default_factory=dict)


def function_create(*, name: str, runtime: str, **given: Any) -> Function:
    """The function with its version 1: active, or creating while that is being built. Raises FunctionExists,
    QuotaExceeded, InvalidRequest for an upload that can't be what it should be."""
    upload = packages.upload_from(runtime, given)
    if upload is None:
        raise InvalidRequest("Give one of code, binary and archive.", details={"code": ["Is required."]})
    destinations.check_known(given)
    settings = {"env_vars": {}} | {key: given[key] for key in VERSIONED if key in given}
    packages.check_handler(runtime, settings["handler"], upload)
    settings["language"] = packages.language_of(runtime, settings["handler"], settings.get("language", ""), upload)
    try:
        return _create(name, runtime, upload, settings, given)
    except IntegrityError:
        # The same bytes were stored already, and removed with another function before this one could hold them.
        return _create(name, runtime, upload, settings, given)


def _create(
    name: str, runtime: str, upload: packages.Upload, settings: Mapping[str, Any], given: Mapping[str, Any]
) -> Function:
    with transaction.atomic():
        content = VersionContent(package_sha256=packages.store(upload).sha256, **settings)
        return function_make(name, runtime, content, given)


def function_make(name: str, runtime: str, content: VersionContent, given: Mapping[str, Any]) -> Function:
    """A function of the caller's from content that is stored already; of `given` what is no part of a version counts.
    Raises FunctionExists, QuotaExceeded."""
    try:
        with transaction.atomic():
            function = Function.objects.create(
                name=name,
                runtime=runtime,
                status=FunctionStatus.CREATING,
                owner_id=principal_var.get().user_id,
                **{key: given[key] for key in UNVERSIONED if key in given},
            )
            _set_tags(function, given.get("tags", ()))
            routes.route_set(function, given)
            version = version_add(function, content)
            audit.record("function.create", "function", function.pk, function.name, after=state_of(function, version))
            directory.changed(function)
    except IntegrityError as error:
        if not Function.objects.filter(name=name).exists():
            raise  # the package went with the last function that used it, in between (function_create)
        raise FunctionExists(f"A function named {name} exists already. Choose another name or update it.") from error
    return function


def function_clone(reference: str, name: str) -> Function:
    """A function of the caller's with the code, configuration, settings and tags that another has now. Without its
    versions, aliases and environments, and without its secrets: those were given to that function only. Raises
    FunctionNotFound, FunctionExists, QuotaExceeded."""
    with transaction.atomic():
        # Locked, so that it does not go, with its package, before the clone has one of its own.
        source = function_get(reference, for_update=True)
        given: dict[str, Any] = {key: getattr(source, key) for key in UNVERSIONED if key not in NOT_CLONED}
        given["tags"] = _tags_of(source)
        return function_make(name, source.runtime, content_of(shown_version(source)), given)


def function_recompile(reference: str) -> Function:
    """Build its newest version anew, with the toolchain of now; it goes on serving meanwhile. Raises FunctionNotFound,
    Conflict where nothing is built or it is being built already."""
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        version = newest_version(function)
        if function.status in {FunctionStatus.CREATING, FunctionStatus.UPDATING}:
            raise Conflict(f"The function is {function.status}: it is being built already.")
        builds.prepare_again(function, version)
        changed = {"version": version.version}
        audit.record("function.recompile", "function", function.pk, function.name, before=changed, after=changed)
        directory.changed(function)
    return function


def function_pin(reference: str, *, pinned: bool | None = None) -> Function:
    """Pin it to the top of lists or not; None turns round what it is. Raises FunctionNotFound."""
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        before = {"pinned": function.pinned}
        function.pinned = not function.pinned if pinned is None else pinned
        function.save(update_fields=["pinned", "updated_at"])
        after = {"pinned": function.pinned}
        audit.record("function.pin", "function", function.pk, function.name, before=before, after=after)
    return function


def function_update(reference: str, *, expected: Expected = ANY, **given: Any) -> Function:
    """Change what is given, leave the rest. New code or configuration makes a new version. Raises FunctionNotFound,
    QuotaExceeded, InvalidRequest for another name or runtime, PreconditionFailed when it is not what the client takes
    it to be."""
    with transaction.atomic():
        # The row lock makes version numbers one counter: two updates at once give two numbers.
        function = function_get(reference, for_update=True)
        expected.check(function.last_number)
        destinations.check_known(given)
        for fixed in ("name", "runtime"):
            if fixed in given and given[fixed] != getattr(function, fixed):
                message = f"The {fixed} of a function can't change. Clone or create another one."
                raise InvalidRequest(message, details={fixed: [message]})
        upload = packages.upload_from(function.runtime, given)
        changes = {key: given[key] for key in VERSIONED if key in given}
        basis = basis_version(function)
        packages.check_change(function.runtime, basis, changes.get("handler", basis.handler), upload)
        if upload is not None:
            changes["package_sha256"] = packages.store(upload).sha256
        function_become(function, _replaced(content_of(basis), changes), given)
    return function


def function_become(function: Function, content: VersionContent, given: Mapping[str, Any]) -> None:
    """Give it this content, as a new version unless the one that changes start from has it, and of `given` what is no
    part of a version. Under the function's row lock. Raises QuotaExceeded, Forbidden for sharing somebody else's."""
    newest = basis_version(function)
    before = state_of(function, newest)
    # Who sends again what could not be built wants it to be tried again.
    is_tried_again = function.status == FunctionStatus.FAILED and any(given.get(key) is not None for key in UPLOADS)
    _check_sharing(function, given)
    for key in UNVERSIONED:
        if key in given:
            setattr(function, key, given[key])
    routes.route_set(function, given)
    function.save()
    if "tags" in given:
        _set_tags(function, given["tags"])
    if content != content_of(newest) or is_tried_again:
        newest = version_add(function, content)
    after = state_of(function, newest)
    if after != before:
        audit.record("function.update", "function", function.pk, function.name, before=before, after=after)
    directory.changed(function)


def function_give(reference: str, owner_id: int | None) -> Function:
    """Another owner, or none: then everybody sees it. Raises FunctionNotFound."""
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        before, function.owner_id = {"owner": function.owner_id}, owner_id
        function.save(update_fields=["owner", "updated_at"])
        after = {"owner": owner_id}
        audit.record("function.give", "function", function.pk, function.name, before=before, after=after)
        directory.changed(function)
        if function.http_path:
            directory.announce(routes.ROUTES)
    return function


def _check_sharing(function: Function, given: Mapping[str, Any]) -> None:
    """Who sees a function only because it is shared must not take it from all others."""
    who = principal_var.get()
    if given.get("shared", function.shared) != function.shared and not (
        who.is_admin or function.owner_id is None or function.owner_id == who.user_id
    ):
        raise Forbidden("Only its owner or an admin may change whether a function is shared.")


def function_delete(reference: str) -> None:
    """The function and its versions; its invocations stay readable. Raises FunctionNotFound."""
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        audit.record(
            "function.delete",
            "function",
            function.pk,
            function.name,
            before=state_of(function, newest_version(function)),
        )
        used = list(function.versions.values_list("package_id", flat=True).distinct())
        directory.changed(function)
        if function.http_path:
            directory.announce(routes.ROUTES)
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
        before = {"status": function.status}
        is_building = builds.is_building(function)
        if not is_building:
            function.status_message = ""
        if online:
            function.status = FunctionStatus.UPDATING if is_building else FunctionStatus.ACTIVE
        else:
            function.status = FunctionStatus.OFFLINE
        function.save(update_fields=["status", "status_message", "updated_at"])
        after = {"status": function.status}
        action = "function.online" if online else "function.offline"
        audit.record(action, "function", function.pk, function.name, before=before, after=after)
        directory.changed(function)
    return function


def content_of(version: FunctionVersion) -> VersionContent:
    """What it consists of."""
    return VersionContent(
        handler=version.handler,
        package_sha256=version.package_id,
        language=version.language,
        layers=version.layers,
        memory_mb=version.memory_mb,
        timeout_sec=version.timeout_sec,
        env_vars=version.env_vars,
        network=version.network,
        input_schema=version.input_schema,
    )


def state_of(function: Function, version: FunctionVersion) -> dict[str, Any]:
    """For the audit log: the function, and the version that is its newest."""
    return {
        "runtime": function.runtime,
        **{key: getattr(function, key) for key in UNVERSIONED},
        **routes.fields_of(function),
        "tags": _tags_of(function),
        "version": version.version,
        "code_hash": version.package_id,
        **{key: getattr(version, key) for key in VERSIONED},
    }


def _replaced(content: VersionContent, given: Mapping[str, Any]) -> VersionContent:
    return VersionContent(**{f.name: given.get(f.name, getattr(content, f.name)) for f in fields(content)})


def version_add(function: Function, content: VersionContent) -> FunctionVersion:
    """The next version, also of the newest's content; live at once or when its build has succeeded. Under the
    function's row lock. Raises QuotaExceeded."""
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
        input_schema=dict(content.input_schema),
        created_by=principal_var.get().name,
    )
    allowance.admit(function, version)
    builds.prepare(function, version)
    return version


def _tags_of(function: Function) -> list[str]:
    return list(function.tag_rows.order_by("pk").values_list("name", flat=True))


def _set_tags(function: Function, tags: Sequence[str]) -> None:
    function.tag_rows.all().delete()
    FunctionTag.objects.bulk_create(FunctionTag(function=function, name=tag) for tag in dict.fromkeys(tags))
