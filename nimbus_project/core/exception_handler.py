"""One JSON error shape, whatever was raised inside a DRF view."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.response import Response

from nimbus_project.core.errors import (
    Details,
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    NimbusError,
    NotFound,
    TooLarge,
    UnsupportedMediaType,
)
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.unforeseen import answer_to


def handle(exc: Exception, context: dict[str, Any]) -> Response:
    """DRF's `EXCEPTION_HANDLER`."""
    error = _translate(exc) or answer_to(exc, context["request"].path)
    headers = error.headers()
    if isinstance(exc, exceptions.MethodNotAllowed):
        headers["Allow"] = ", ".join(context["view"].allowed_methods)
    return Response(error.body(request_id_var.get()), status=error.http_status, headers=headers)


def _translate(exc: Exception) -> NimbusError | None:
    match exc:
        case NimbusError():
            return exc
        case exceptions.ValidationError():
            details = flatten(exc.detail)
            return InvalidRequest(_first_sentence(details), details=details)
        case exceptions.UnsupportedMediaType():
            return UnsupportedMediaType("The body must be sent as Content-Type: application/json.")
        case exceptions.MethodNotAllowed():
            return MethodNotAllowed(str(exc.detail))
        case Http404() | exceptions.NotFound():
            return NotFound("There is nothing at this address.")
        case PermissionDenied() | exceptions.PermissionDenied():
            return Forbidden(str(exc) or "This is not allowed.")
        case RequestDataTooBig():
            return TooLarge("The request body is too large.")
        case SuspiciousOperation():
            return InvalidRequest("The request could not be understood.")
        case exceptions.NotAcceptable() | exceptions.ParseError():
            return InvalidRequest(str(exc.detail))
        case exceptions.APIException() if exc.status_code < status.HTTP_500_INTERNAL_SERVER_ERROR:
            return InvalidRequest(str(exc.detail))
    return None


def flatten(detail: Any, prefix: str = "") -> Details:
    """DRF's nested error tree as ``{"field.sub": ["message", …]}``; an object's own errors under ``body``."""
    if isinstance(detail, dict):
        found: dict[str, list[str]] = {}
        for key, value in detail.items():
            name = "" if key == "non_field_errors" else str(key)
            path = ".".join(filter(None, (prefix, name)))
            for sub, messages in flatten(value, path).items():
                found.setdefault(sub, []).extend(messages)
        return found
    if isinstance(detail, list) and any(isinstance(item, dict | list) for item in detail):
        return flatten({str(index): item for index, item in enumerate(detail) if item}, prefix)
    return {prefix or "body": [str(item) for item in (detail if isinstance(detail, list) else [detail])]}


def _first_sentence(details: Details) -> str:
    field, messages = next(iter(details.items()))
    return messages[0] if field == "body" else f"{field}: {messages[0]}"
