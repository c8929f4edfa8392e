"""Layers: shared dependency zips with immutable, numbered versions. A function's version refers to some, in order.

python/…                  importable by Python functions
nodejs/node_modules/…     by Node.js functions
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast

from accounts import audit
from accounts.principal import principal_var
from accounts.visibility import visible
from functions import archives, artifacts, services
from functions.errors import LayerExists, LayerInUse, LayerNotFound
from functions.models import Function, FunctionVersion, Layer, LayerVersion
from functions.packages import MAX_BINARY_BYTES
from functions.selectors import NAME_PATTERN, basis_version, function_get
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.ids import as_uuid

FOLDERS: Mapping[str, str] = {"python3.11": "python/", "nodejs20": "nodejs/node_modules/"}
"""By the runtimes that have layers: what a function of it sees of a layer."""
MAX_OF_FUNCTION = 10

_NAME = re.compile(NAME_PATTERN[1:-1])
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Content:
    """A zip that was checked, as it is stored."""

    tar: bytes


def layers_visible() -> QuerySet[Layer]:
    """Newest first."""
    return Layer.objects.filter(visible()).prefetch_related("versions").order_by("-created_at", "-pk")


def layer_get(reference: str, *, for_update: bool = False) -> Layer:
    """By id or name, among those that may be seen. Raises LayerNotFound. `for_update` needs a transaction."""
    rows = Layer.objects.select_for_update() if for_update else Layer.objects.all()
    uuid = as_uuid(reference)
    named = Q(name=reference) if _NAME.fullmatch(reference) else None
    where = Q(pk=uuid) | Q(name=reference) if uuid else named
    # An id wins over another layer that was named like it.
    found = sorted(rows.filter(visible(), where), key=lambda row: row.pk != uuid) if where is not None else []
    if not found:
        raise LayerNotFound("There is no layer of this id or name.")
    return found[0]


def layer_create(
    *,
    name: str,
    compatible_runtimes: Sequence[str],
    description: str = "",
    shared: bool = False,
    content: bytes | None = None,
) -> Layer:
    """The layer, with its version 1 when there is content. Raises LayerExists, InvalidRequest for content that can't be
    used."""
    runtimes = list(dict.fromkeys(compatible_runtimes))
    checked = None if content is None else checked_content(content, runtimes)
    try:
        with transaction.atomic():
            layer = Layer.objects.create(
                name=name,
                description=description,
                compatible_runtimes=runtimes,
                shared=shared,
                owner_id=principal_var.get().user_id,
            )
            audit.record("layer.create", "layer", layer.pk, layer.name, after=_state(layer))
            if checked is not None:
                _add_version(layer, checked)
    except IntegrityError as error:
        raise LayerExists(
            f"A layer named {name} exists already. Add a version to it or choose another name."
        ) from error
    return layer


def layer_publish(reference: str, content: bytes) -> LayerVersion:
    """The next version. Functions keep the one they have. Raises LayerNotFound, InvalidRequest."""
    checked = checked_content(content, layer_get(reference).compatible_runtimes)
    with transaction.atomic():
        return _add_version(layer_get(reference, for_update=True), checked)


def layer_delete(reference: str) -> None:
    """With all its versions. Raises LayerNotFound, LayerInUse while a version of a function refers to one of them."""
    with transaction.atomic():
        layer = layer_get(reference, for_update=True)
        users = _users_of(layer)
        if users:
            names = ", ".join(users[:5]) + (" and others" if len(users) > 5 else "")
            raise LayerInUse(f"The layer {layer.name} is used by versions of {names}. Delete those versions first.")
        audit.record("layer.delete", "layer", layer.pk, layer.name, before=_state(layer))
        layer.delete()


def checked_content(data: bytes, runtimes: Sequence[str]) -> Content:
    """Raises InvalidRequest for what is no usable zip, or has nothing for one of the runtimes."""
    archives.check(data, max_bytes=MAX_BINARY_BYTES, field="content")
    files = artifacts.files_of_zip(data)
    for runtime in runtimes:
        if not any(name.startswith(FOLDERS[runtime]) for name in files):
            message = f"Has no folder {FOLDERS[runtime]}, where {runtime} looks for packages."
            raise InvalidRequest(f"content: {message}", details={"content": [message]})
    kept = {name: data for name, data in files.items() if name.startswith(tuple(FOLDERS.values()))}
    return Content(artifacts.tar_of(kept))


def function_layers(function: Function) -> list[LayerVersion]:
    """Those that a change starts from, in order."""
    return layers_of(basis_version(function))


def layers_of(version: FunctionVersion) -> list[LayerVersion]:
    """In order."""
    rows = {str(row.pk): row for row in LayerVersion.objects.select_related("layer").filter(pk__in=version.layers)}
    return [rows[pk] for pk in version.layers if pk in rows]


def function_layers_set(reference: str, wanted: Sequence[str]) -> Function:
    """A new version of the function with these layers, each as id or name of a layer and, after a colon, the number of
    a version; without it the newest. A later one wins. Raises FunctionNotFound, LayerNotFound, InvalidRequest."""
    with transaction.atomic():
        function = function_get(reference, for_update=True)
        has = {row.layer_id: row for row in function_layers(function)}
        # Locked in one order: two that set the same layers must not wait for each other.
        for name in sorted({one.partition(":")[0] for one in wanted}):
            _usable(name, has, lock=True)
        found = [_chosen(one, has) for one in wanted]
        _check(function, found)
        return services.function_update(str(function.pk), layers=[str(row.pk) for row in found])


def _usable(name: str, has: Mapping[Any, LayerVersion], *, lock: bool = False) -> Layer:
    """A layer that may be seen, or one that the function has already, whoever owns it."""
    try:
        return layer_get(name, for_update=lock)
    except LayerNotFound:
        kept = next((row.layer for row in has.values() if name in (str(row.layer_id), row.layer.name)), None)
        if kept is None:
            raise LayerNotFound(f"There is no layer {name[:80]}.") from None
        return kept


def _chosen(wanted: str, has: Mapping[Any, LayerVersion]) -> LayerVersion:
    name, colon, number = wanted.partition(":")
    layer = _usable(name, has)
    if colon and not _NUMBER.fullmatch(number):
        raise _wrong(f"{wanted[:80]!r} is not of the form name:version.")
    rows = layer.versions.select_related("layer").filter(version=int(number) if colon else layer.last_number)
    row = rows.first()
    if row is None:
        raise _wrong(f"The layer {layer.name} has no version{f' {number}' if colon else ' yet'}.")
    return row


def _check(function: Function, layers: Sequence[LayerVersion]) -> None:
    if len(layers) > MAX_OF_FUNCTION:
        raise _wrong(f"A function may have at most {MAX_OF_FUNCTION} layers.")
    names = [row.layer.name for row in layers]
    for row in layers:
        if names.count(row.layer.name) > 1:
            raise _wrong(f"The layer {row.layer.name} is there more than once.")
        if function.runtime not in row.layer.compatible_runtimes:
            runtimes = ", ".join(row.layer.compatible_runtimes)
            raise _wrong(f"The layer {row.layer.name} is for {runtimes}; {function.name} runs on {function.runtime}.")


def _add_version(layer: Layer, content: Content) -> LayerVersion:
    """Under the layer's row lock, which makes the numbers one counter."""
    sha256, stored_as = artifacts.keep(artifacts.LAYERS, content.tar)
    layer.last_number += 1
    layer.save(update_fields=["last_number", "updated_at"])
    version = LayerVersion.objects.create(
        layer=layer,
        version=layer.last_number,
        sha256=sha256,
        size_bytes=len(content.tar),
        stored_as=stored_as,
    )
    after = {"version": version.version, "sha256": sha256, "size_bytes": version.size_bytes}
    audit.record("layer.publish", "layer", layer.pk, layer.name, after=after)
    return version


def _users_of(layer: Layer) -> list[str]:
    """Names of the functions with a version that refers to one of its versions."""
    where = Q(pk__in=())
    for pk in layer.versions.values_list("pk", flat=True):
        where |= Q(listed__contains=str(pk))
    # As text: what a JSON list contains can't be asked of SQLite, and ids are unique wherever they stand.
    rows = FunctionVersion.objects.annotate(listed=Cast("layers", TextField())).filter(where)
    return sorted(set(rows.values_list("function__name", flat=True)))


def _state(layer: Layer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "description": layer.description,
        "compatible_runtimes": layer.compatible_runtimes,
        "shared": layer.shared,
    }


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest(f"layers: {message}", details={"layers": [message]})
