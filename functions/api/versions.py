"""Routes of versions: parse, call a service or selector, shape the answer."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from functions import version_diff, versions
from functions.api.functions import IF_MATCH, query_parameter, tagged
from functions.models import FunctionVersion
from functions.preconditions import expected_from
from functions.runtimes import RUNTIMES
from functions.selectors import function_get
from functions.serializers.functions import FunctionSerializer
from functions.serializers.versions import (
    VersionDiffSerializer,
    VersionListSerializer,
    VersionPublishSerializer,
    VersionSerializer,
    diff_side,
    version_shape,
)
from nimbus_project.core.errors import InvalidRequest
from nimbus_project.core.pagination import page_from

_PLAIN = ("text/plain", "text/x-diff", "text/x-patch")


class VersionsApi(APIView):
    """The versions of a function, newest first; publish one."""

    serializer_class = VersionPublishSerializer

    @extend_schema(
        operation_id="version_list",
        parameters=[
            query_parameter("include", "`code` adds the source to each row"),
            query_parameter("offset", "rows to pass over", OpenApiTypes.INT),
            query_parameter("limit", "rows to answer with, at most 100", OpenApiTypes.INT),
        ],
        responses=VersionListSerializer,
    )
    def get(self, request: Request, reference: str) -> Response:
        page = page_from(request.query_params)
        with_code = "code" in request.query_params.get("include", "").split(",")
        rows = versions.versions_of(function_get(reference), with_code=with_code)
        shown = [version_shape(row, code=with_code) for row in rows[page.offset : page.offset + page.limit]]
        return Response(page.answer("versions", shown, rows.count()))

    @extend_schema(
        operation_id="version_publish",
        description="Give the newest content a description, as a new version. Every change of code or configuration "
        "makes a version anyway: without a description there is nothing to add, and the newest is the answer.",
        request=VersionPublishSerializer,
        responses={201: VersionSerializer},
    )
    def post(self, request: Request, reference: str) -> Response:
        given = VersionPublishSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        version = versions.publish(reference, **given.validated_data)
        return Response(version_shape(version, code=True), status=status.HTTP_201_CREATED)


class VersionApi(APIView):
    """One version of a function."""

    @extend_schema(operation_id="version_get", responses=VersionSerializer)
    def get(self, request: Request, reference: str, number: int) -> Response:
        return Response(version_shape(versions.version_get(function_get(reference), number), code=True))

    @extend_schema(
        operation_id="version_delete",
        description="409 while an alias, a rollout or the newest version needs it.",
        responses={204: None},
    )
    def delete(self, request: Request, reference: str, number: int) -> Response:
        versions.version_delete(reference, number)
        return Response(status=status.HTTP_204_NO_CONTENT)


class DiffApi(APIView):
    """What a version changed."""

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        # The plain form is no renderer: an error of this route stays JSON whatever was asked for.
        return super().perform_content_negotiation(request, force=True)

    @extend_schema(
        operation_id="version_diff",
        description="`Accept: text/plain` answers with the diff alone.",
        parameters=[
            OpenApiParameter("against", int, description="compare with this version; without it, with the one before")
        ],
        responses={(200, "application/json"): VersionDiffSerializer, (200, "text/plain"): OpenApiTypes.STR},
    )
    def get(self, request: Request, reference: str, number: int) -> Response | HttpResponse:
        function = function_get(reference)
        new = versions.version_get(function, number)
        against = request.query_params.get("against")
        if against is None:
            old = versions.version_before(function, number)
        else:
            old = versions.version_get(function, _number(against))
        suffix = RUNTIMES[function.runtime].source_suffix
        answer = _diff(old, new, suffix)
        if any(kind in request.headers.get("Accept", "") for kind in _PLAIN):
            return HttpResponse(answer["diff"], content_type="text/plain; charset=utf-8")
        return Response(answer)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidRequest("against must be a version number.", details={"against": ["Must be a positive integer."]})
    return int(text)


def _diff(old: FunctionVersion | None, new: FunctionVersion, suffix: str) -> dict[str, Any]:
    before = version_diff.NOTHING if old is None else diff_side(old, suffix)
    after = diff_side(new, suffix)
    against = 0 if old is None else old.version
    text = version_diff.unified(before, after, old_label=f"version {against}", new_label=f"version {new.version}")
    changed = version_diff.changed(before, after)
    return {"version": new.version, "against": against, "changed": changed, "diff": text}


class RollbackApi(APIView):
    """Serve an earlier version's content again."""

    @extend_schema(
        operation_id="version_rollback",
        description="Makes a new version with this one's content and artifact; it is served at once.",
        parameters=[IF_MATCH],
        request=None,
        responses=FunctionSerializer,
    )
    def post(self, request: Request, reference: str, number: int) -> Response:
        expected = expected_from(request.headers.get("If-Match"))
        return tagged(versions.rollback(reference, number, expected))
