"""Reading functions. No writes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db.models import OuterRef, Q, QuerySet, Subquery

from accounts.visibility import visible
from functions import configuration
from functions.errors import FunctionNotFound
from functions.models import BuildStatus, BuildTask, Function, FunctionStatus, FunctionVersion, LayerVersion, Network
from functions.runtimes import RUNTIMES
from functions.spec import ArtifactKind, FunctionSpec, StoredFolder
from nimbus_project.config import config
from nimbus_project.core.errors import InvalidRequest, NotFound
from nimbus_project.core.ids import as_uuid

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
_NAME = re.compile(NAME_PATTERN[1:-1])
MAX_NAME = 64
MAX_TAGS = 50
ORDERINGS = ("name", "created_at", "updated_at", "runtime", "status", "last_deployed_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionFilter:
    """What `GET /functions` can ask for. Empty means any."""

    name: str = ""
    tags: tuple[str, ...] = ()
    runtime: str = ""
    status: str = ""
    ordering: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> FunctionFilter:
        """Raises InvalidRequest for a value that no function can have."""
        found = cls(
            name=query.get("name", ""),
            tags=tuple(dict.fromkeys(tag for part in query.get("tags", "").split(",") if (tag := part.strip()))),
            runtime=query.get("runtime", ""),
            status=query.get("status", ""),
            ordering=query.get("ordering", ""),
        )
        _check("name", "\0" not in found.name, "Must not contain a NUL character.")
        _check("tags", "\0" not in query.get("tags", ""), "Must not contain a NUL character.")
        # No function has more; each is a join, and SQLite's pattern and join limits are not the caller's business.
        _check("name", len(found.name) <= MAX_NAME, f"Must have at most {MAX_NAME} characters.")
        _check("tags", len(found.tags) <= MAX_TAGS, f"Must be at most {MAX_TAGS}.")
        _check("runtime", found.runtime in {"", *RUNTIMES}, f"Must be one of {', '.join(RUNTIMES)}.")
        _check("status", found.status in {"", *FunctionStatus.values}, f"One of {', '.join(FunctionStatus.values)}.")
        _check("ordering", found.ordering.removeprefix("-") in {"", *ORDERINGS}, f"One of {', '.join(ORDERINGS)}.")
        return found


def _check(field: str, ok: bool, message: str) -> None:
    if not ok:
        raise InvalidRequest(f"{field}: {message}", details={field: [message]})


def _by_reference(reference: str) -> Q | None:
    """An id or a name; None when it can be neither (and would, with a NUL in it, upset the database)."""
    if uuid := as_uuid(reference):
        return Q(pk=uuid) | Q(name=reference)
    return Q(name=reference) if _NAME.fullmatch(reference) else None


def function_get(reference: str, *, for_update: bool = False) -> Function:
    """By id or name, among those that the principal of this request may see: every route goes through here. Raises
    FunctionNotFound. `for_update` needs a transaction."""
    where = _by_reference(reference)
    rows = Function.objects.select_for_update() if for_update else Function.objects.all()
    rows = rows.filter(visible())
    # An id wins over another function that was named like it.
    found = sorted(rows.filter(where), key=lambda f: f.name == reference) if where is not None else []
    if not found:
        raise _not_found()
    return found[0]


def seen_among(ids: Iterable[str]) -> set[str]:
    """Of functions' ids, those that the principal of this request may see."""
    rows = Function.objects.filter(visible(), pk__in=list(ids))
    return {str(pk) for pk in rows.values_list("pk", flat=True)}


def latest_version(function: Function) -> FunctionVersion:
    """The newest that can run. Raises FunctionNotFound when it was deleted since it was read."""
    return _version(function, function.latest_version)


def newest_version(function: Function) -> FunctionVersion:
    """The one with the highest number, which may still be building. Raises FunctionNotFound, as `latest_version`."""
    return _version(function, function.last_number)


def basis_version(function: Function) -> FunctionVersion:
    """What a change starts from: the newest version that can run, or is being built and may come to. One whose build
    has failed is history, unless there is no other. Raises FunctionNotFound, as `latest_version`."""
    building = function.builds.filter(status__in=[BuildStatus.PENDING, BuildStatus.RUNNING]).values("version")
    rows = function.versions.select_related("package").filter(Q(is_ready=True) | Q(version__in=building))
    return rows.order_by("-version").first() or newest_version(function)


def _version(function: Function, number: int) -> FunctionVersion:
    try:
        return FunctionVersion.objects.select_related("package").get(function_id=function.pk, version=number)
    except FunctionVersion.DoesNotExist:
        raise _not_found() from None


def _not_found() -> FunctionNotFound:
    return FunctionNotFound("There is no function of this id or name.")


def shown_version(function: Function) -> FunctionVersion:
    """What the API shows of a function: the newest version that can run, or the first while there is none."""
    return latest_version(function) if function.latest_version else newest_version(function)


def current_build(function: Function) -> BuildTask | None:
    """The build under way, or the one that left the function failed."""
    if function.status not in {FunctionStatus.CREATING, FunctionStatus.UPDATING, FunctionStatus.FAILED}:
        return None
    return function.builds.order_by("-created_at").first()


def build_get(reference: str) -> BuildTask:
    """By id, of a function that may be seen. Raises NotFound."""
    uuid = as_uuid(reference)
    rows = BuildTask.objects.select_related("function").filter(visible("function__"))
    task = rows.filter(pk=uuid).first() if uuid else None
    if task is None:
        raise NotFound("There is no task of this id.", code="task_not_found")
    return task


def latest_versions(functions: Iterable[Function], *, with_code: bool) -> dict[object, FunctionVersion]:
    """The newest version of each, by function id, in one query."""
    newest = (
        FunctionVersion.objects.filter(function_id=OuterRef("function_id"))
        .order_by("-is_ready", "-version")
        .values("pk")[:1]
    )
    rows = (
        FunctionVersion.objects.filter(function_id__in=[f.pk for f in functions], pk=Subquery(newest))
        .select_related("package")
        .defer(*(() if with_code else ("package__data",)))
    )
    return {row.function_id: row for row in rows}


def functions_matching(wanted: FunctionFilter) -> QuerySet[Function]:
    """Of those that may be seen: pinned first, then newest, unless an ordering was asked for."""
    rows = Function.objects.filter(visible()).prefetch_related("tag_rows")
    if wanted.name:
        rows = rows.filter(name__icontains=wanted.name)
    if wanted.runtime:
        rows = rows.filter(runtime=wanted.runtime)
    if wanted.status:
        rows = rows.filter(status=wanted.status)
    for tag in wanted.tags:
        rows = rows.filter(tag_rows__name=tag)
    return rows.order_by(wanted.ordering, "-pk") if wanted.ordering else rows.order_by("-pinned", "-created_at", "-pk")


def runnable_version(function_id: str) -> int:
    """The newest version that can run; 0 while there is none, or no such function."""
    return Function.objects.filter(pk=function_id).values_list("latest_version", flat=True).first() or 0


def spec_get(function_id: str, version: int, environment: str = "") -> FunctionSpec | None:
    """What a worker runs, or None when the version or the environment is gone. Raises SecretUnreadable."""
    row = (
        FunctionVersion.objects.select_related("function", "package", "artifact", "dependencies")
        .filter(function_id=function_id, version=version, is_ready=True)
        .first()
    )
    if row is None:
        return None
    # Read after the row: should one of them change in between, the spec bears the earlier generation and is read again.
    overrides = configuration.overrides_of(row.function_id, environment)
    if overrides is None:
        return None
    artifact = row.artifact
    return FunctionSpec(
        function_id=str(row.function_id),
        function_name=row.function.name,
        version=row.version,
        runtime=row.function.runtime,
        handler=row.handler,
        memory_mb=overrides.memory_mb or row.memory_mb,
        timeout_sec=overrides.timeout_sec or row.timeout_sec,
        artifact=b"" if artifact else bytes(row.package.data),
        artifact_sha256=artifact.sha256 if artifact else row.package_id,
        artifact_kind=ArtifactKind(artifact.kind) if artifact else ArtifactKind.SOURCE,
        folder=StoredFolder(artifact.sha256, artifact.stored_as) if artifact else None,
        layers=_layer_folders(row),
        env_vars=row.env_vars | overrides.env_vars | configuration.secret_values(row.function_id),
        network=row.network if config().allow_egress else Network.NONE,
        max_concurrency=row.function.max_concurrency,
        environment=environment,
        generation=row.function.generation,
    )


def _layer_folders(version: FunctionVersion) -> tuple[StoredFolder, ...]:
    """Shared layers in order, then what the version itself asked for: its own dependencies win."""
    rows = {str(row.pk): row for row in LayerVersion.objects.filter(pk__in=version.layers)} if version.layers else {}
    folders = [StoredFolder(rows[pk].sha256, rows[pk].stored_as) for pk in version.layers if pk in rows]
    if version.dependencies is not None:
        folders.append(StoredFolder(version.dependencies.sha256, version.dependencies.stored_as))
    return tuple(folders)
