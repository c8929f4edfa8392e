"""Routes that take functions out as a zip and bring them in again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from functions import transfer
from functions.manifest import MAX_ARCHIVE_BYTES
from functions.selectors import function_get
from functions.serializers.transfer import (
    ON_CONFLICT,
    ExportSerializer,
    ImportFileSerializer,
    ImportResultSerializer,
    TravellingFunctionSerializer,
    import_shape,
)
from functions.transfer import OnConflict
from nimbus_project.core.errors import InvalidRequest, TooLarge
from nimbus_project.core.exception_handler import flatten

ZIP = "application/zip"


class ZipParser(BaseParser):
    """The body is the zip."""

    media_type = ZIP

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, bytes]:
        return {"file": _bounded(stream)}


class FunctionExportApi(APIView):
    """One function as a zip: code, configuration, aliases and the versions they need. No secrets."""

    @extend_schema(operation_id="function_export", responses={(200, ZIP): OpenApiTypes.BINARY})
    def get(self, request: Request, reference: str) -> HttpResponse:
        function = function_get(reference)
        return _download(transfer.export([str(function.pk)]), function.name)


class FunctionsExportApi(APIView):
    """Many functions as one zip: those with the given ids or names, else all."""

    serializer_class = ExportSerializer

    @extend_schema(
        operation_id="functions_export",
        request=ExportSerializer,
        responses={(200, ZIP): OpenApiTypes.BINARY},
        examples=[OpenApiExample("two", value={"ids": ["hello", "resize"]}, request_only=True)],
    )
    def post(self, request: Request) -> HttpResponse:
        given = ExportSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        return _download(transfer.export(given.validated_data.get("ids")), "functions")


class FunctionsImportApi(APIView):
    """Functions from a zip that an export made, each whole or not at all."""

    serializer_class = ImportFileSerializer
    parser_classes = (MultiPartParser, ZipParser)

    @extend_schema(
        operation_id="functions_import",
        parameters=[
            OpenApiParameter(
                "on_conflict", enum=ON_CONFLICT, default=OnConflict.FAIL.value, description="when a name is taken"
            )
        ],
        request={"multipart/form-data": ImportFileSerializer, ZIP: OpenApiTypes.BINARY},
        responses={200: ImportResultSerializer},
    )
    def post(self, request: Request) -> Response:
        asked = request.query_params.get("on_conflict", OnConflict.FAIL)
        if asked not in ON_CONFLICT:
            message = f"Must be one of {', '.join(ON_CONFLICT)}."
            raise InvalidRequest(f"on_conflict: {message}", details={"on_conflict": [message]})
        return Response(import_shape(transfer.import_all(_archive(request), checked_entry, OnConflict(asked))))


def checked_entry(entry: Any) -> dict[str, Any]:
    """An entry of a manifest, as `functions.transfer` wants it. Raises InvalidRequest."""
    given = TravellingFunctionSerializer(data=entry)
    if not given.is_valid():
        details = flatten(given.errors)
        where, messages = next(iter(details.items()))
        raise InvalidRequest(f"{where}: {messages[0]}", details=details)
    checked: dict[str, Any] = given.validated_data
    return checked


def _archive(request: Request) -> bytes:
    whole = request.data.get("file") if isinstance(request.data, dict) else None
    if isinstance(whole, bytes):
        return whole
    given = ImportFileSerializer(data=request.data)
    given.is_valid(raise_exception=True)
    return _bounded(given.validated_data["file"])


def _bounded(stream: IO[Any]) -> bytes:
    data: bytes = stream.read(MAX_ARCHIVE_BYTES + 1)
    if len(data) > MAX_ARCHIVE_BYTES:
        raise TooLarge(f"The archive is too large: at most {MAX_ARCHIVE_BYTES} bytes are allowed.")
    return data


def _download(data: bytes, name: str) -> HttpResponse:
    return HttpResponse(data, content_type=ZIP, headers={"Content-Disposition": f'attachment; filename="{name}.zip"'})
