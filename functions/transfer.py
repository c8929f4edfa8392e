"""Functions out of this platform and into it, as `functions/manifest.py` describes. One function is imported whole or
not at all, and one that fails harms no other."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db import transaction

from functions import aliases, manifest, packages, routing, services
from functions.errors import FunctionExists, FunctionNotFound
from functions.manifest import Bundle, Entry
from functions.models import Alias, Function, FunctionVersion, PackageKind
from functions.selectors import FunctionFilter, basis_version, function_get, functions_matching, shown_version
from functions.services import UNVERSIONED, VersionContent, content_of
from nimbus_project.core.errors import InvalidRequest, NimbusError

log = logging.getLogger("nimbus.functions")

MAX_NAME = 64
MAX_RENAMES = 1000
CONFIGURATION = ("handler", "language", "memory_mb", "timeout_sec", "env_vars", "network", "input_schema")
_SUFFIXES = {PackageKind.ARCHIVE: "zip", PackageKind.BINARY: "bin"}

Check = Callable[[Any], dict[str, Any]]
"""An entry of the manifest, its fields checked and defaults filled in. Raises InvalidRequest."""


class OnConflict(StrEnum):
    """What to do about a name that is taken."""

    FAIL = "fail"
    SKIP = "skip"
    RENAME = "rename"
    """``hello-2``, ``hello-3`` …"""
    UPDATE = "update"
    """Give the function that is there the code, configuration and aliases; it keeps what else it has."""


@dataclass(frozen=True, slots=True)
class Imported:
    id: UUID
    name: str
    version: int
    renamed_from: str = ""


@dataclass(slots=True)
class ImportResult:
    imported: list[Imported] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Name, reason."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """Name, error."""


def export(references: Sequence[str] | None) -> bytes:
    """One zip of these, by id or name, each once; None: of all that may be seen. Raises FunctionNotFound,
    InvalidRequest when they are too many or too large."""
    if references is None:
        found = list(functions_matching(FunctionFilter()))
    else:
        found = [function_get(reference) for reference in dict.fromkeys(references)]
    if len(found) > manifest.MAX_FUNCTIONS:
        raise InvalidRequest(f"These are {len(found)} functions; at most {manifest.MAX_FUNCTIONS} fit. Give their ids.")
    entries, files = [], {}
    for function in sorted({row.pk: row for row in found}.values(), key=lambda row: row.name):
        entry, its_files = _entry(function)
        entries.append(entry)
        files.update(its_files)
    return manifest.pack(entries, files)


def import_all(data: bytes, check: Check, on_conflict: OnConflict) -> ImportResult:
    """Every function of the zip. Raises InvalidRequest when that as a whole can't be read; what is wrong with one
    function is told of that one."""
    bundle = Bundle(data)
    result = ImportResult()
    for entry in bundle.entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        shown = name[:MAX_NAME] if isinstance(name, str) else ""
        try:
            _import(check(entry), bundle, on_conflict, result)
        except NimbusError as error:
            result.failed.append((shown, error.message))
        except Exception:
            log.exception("a function can't be imported", extra={"function": shown})
            result.failed.append((shown, "Something went wrong inside Nimbus. The log has the details."))
    return result


# -- out


def _entry(function: Function) -> tuple[Entry, dict[str, bytes]]:
    stored = list(Alias.objects.filter(function=function).order_by("name"))
    newest = shown_version(function).version
    wanted = {newest, *(side["version"] for alias in stored for side in alias.weights)}
    rows = function.versions.select_related("package").filter(version__in=wanted, version__lte=newest)
    versions = list(rows.order_by("version"))
    files = {_file_of(function, row): packages.content(row.package) for row in versions}
    entry = {
        "name": function.name,
        "runtime": function.runtime,
        "tags": [row.name for row in function.tag_rows.all()],
        **{key: getattr(function, key) for key in UNVERSIONED},
        "versions": [_version_entry(function, row) for row in versions],
        "aliases": [
            {"name": alias.name, "description": alias.description, "routing_config": {"weights": alias.weights}}
            for alias in stored
        ],
    }
    return entry, files


def _version_entry(function: Function, row: FunctionVersion) -> dict[str, Any]:
    return {
        "number": row.version,
        **{key: getattr(row, key) for key in CONFIGURATION},
        "kind": row.package.kind,
        "file": _file_of(function, row),
        "sha256": row.package_id,
    }


def _file_of(function: Function, row: FunctionVersion) -> str:
    suffix = _SUFFIXES.get(PackageKind(row.package.kind), "txt")
    return f"code/{function.name}/{row.version}.{suffix}"


# -- in


def _import(entry: dict[str, Any], bundle: Bundle, on_conflict: OnConflict, result: ImportResult) -> None:
    uploads = [_upload(entry["runtime"], version, bundle) for version in entry["versions"]]
    wanted = entry["name"]
    with transaction.atomic():
        taken = Function.objects.filter(name=wanted).exists()
        if taken and on_conflict is OnConflict.SKIP:
            result.skipped.append((wanted, "A function of this name is there already."))
            return
        # All packages first, in one order: two imports that wait for each other's rows would wait for ever.
        for upload in sorted(uploads, key=lambda one: hashlib.sha256(one.data).digest()):
            packages.store(upload)
        if taken and on_conflict is OnConflict.UPDATE:
            function = _update(entry)
        else:
            name = _free_name(wanted) if taken and on_conflict is OnConflict.RENAME else wanted
            function = _create(name, entry)
        made = Imported(function.pk, function.name, function.last_number, wanted if function.name != wanted else "")
    result.imported.append(made)


def _upload(runtime: str, version: Mapping[str, Any], bundle: Bundle) -> packages.Upload:
    upload = packages.checked_upload(runtime, PackageKind(version["kind"]), bundle.file_of(version))
    packages.check_handler(runtime, version["handler"], upload)
    return upload


def _contents(entry: Entry, layers: Sequence[str]) -> dict[int, VersionContent]:
    """By number, ascending."""
    return {
        version["number"]: VersionContent(
            package_sha256=version["sha256"], layers=layers, **{key: version[key] for key in CONFIGURATION}
        )
        for version in entry["versions"]
    }


def _create(name: str, entry: Entry) -> Function:
    contents = _contents(entry, [])
    first, *rest = contents
    function = services.function_make(name, entry["runtime"], contents[first], entry)
    numbers = {first: function.last_number}
    for number in rest:
        # A version each, also of equal content: aliases may tell them apart.
        numbers[number] = services.version_add(function, contents[number]).version
    _set_aliases(function, entry, numbers)
    return function


def _update(entry: Entry) -> Function:
    try:
        function = function_get(entry["name"], for_update=True)
    except FunctionNotFound as error:
        raise _taken(entry["name"]) from error
    # A name may look like another function's id.
    if function.name != entry["name"]:
        raise _taken(entry["name"])
    if function.runtime != entry["runtime"]:
        raise InvalidRequest(f"{function.name} is there with the runtime {function.runtime}, which can't change.")
    contents = _contents(entry, basis_version(function).layers)
    *before, newest = contents
    numbers = {number: _number_of(function, contents[number]) for number in before}
    services.function_become(function, contents[newest], entry)
    numbers[newest] = function.last_number
    _set_aliases(function, entry, numbers)
    return function


def _taken(name: str) -> FunctionExists:
    return FunctionExists(f"The name {name} is taken. Choose another one.")


def _number_of(function: Function, content: VersionContent) -> int:
    """The newest version with this content, made if there is none."""
    for version in function.versions.filter(package_id=content.package_sha256).order_by("-version"):
        if content_of(version) == content:
            return version.version
    services.function_become(function, content, {})
    return function.last_number


def _set_aliases(function: Function, entry: Entry, numbers: Mapping[int, int]) -> None:
    """Those of the entry, by the numbers that their versions have here; others stay."""
    for alias in entry["aliases"]:
        shares: dict[int, int] = {}
        # In an update two versions of the same content may have become one.
        for side in alias["routing_config"]["weights"]:
            number = numbers[side["version"]]
            shares[number] = shares.get(number, 0) + side["weight"]
        weights = routing.as_stored(tuple(sorted(shares.items())))
        aliases.put(function, alias["name"], weights=weights, description=alias["description"])


def _free_name(name: str) -> str:
    for number in range(2, MAX_RENAMES):
        candidate = f"{name[: MAX_NAME - len(str(number)) - 1]}-{number}"
        if not Function.objects.filter(name=candidate).exists():
            return candidate
    raise FunctionExists(f"There is no free name like {name}.")
