"""Styles and scripts of the admin, Swagger UI and the browsable API, straight from the packages they come in: nothing
is collected before a start, no other host is asked."""

from __future__ import annotations

from functools import lru_cache

from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from nimbus_project.core.errors import NotFound
from nimbus_project.core.http import AsgiApp, Receive, Scope, Send

PREFIX = "/static/"
_PACKAGES: list[str | tuple[str, str]] = [
    ("django", "contrib/admin/static"),
    ("rest_framework", "static"),
    ("drf_spectacular_sidecar", "static"),
]


@lru_cache(maxsize=1)
def _files() -> StaticFiles:
    return StaticFiles(packages=_PACKAGES)


async def static_file(scope: Scope) -> AsgiApp:
    """What answers with the file of this path. Raises NotFound."""
    # Starlette takes what a mount has cut off from `root_path`.
    below = dict(scope) | {"root_path": PREFIX.rstrip("/")}
    files = _files()
    try:
        response = await files.get_response(files.get_path(below), below)
    except HTTPException as error:
        raise NotFound("There is nothing at this address.") from error

    async def answer(_: Scope, receive: Receive, send: Send) -> None:
        await response(below, receive, send)

    return answer
