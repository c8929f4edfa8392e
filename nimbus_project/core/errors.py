"""NimbusError: everything the API answers on purpose when it does not do what was asked.

    NimbusError                    code                  HTTP
    ├── InvalidRequest             invalid_request       400   (details: field -> messages)
    │   ├── InvalidJson            invalid_json          400
    │   └── FunctionNotActive      function_not_active   400
    ├── Unauthorized               unauthorized          401   (WWW-Authenticate)
    ├── Forbidden                  forbidden             403
    ├── NotFound                   not_found             404
    ├── MethodNotAllowed           method_not_allowed    405
    ├── Conflict                   conflict              409
    ├── PreconditionFailed         precondition_failed   412
    ├── TooLarge                   too_large             413
    ├── UnsupportedMediaType       unsupported_media_type 415
    ├── TooManyRequests            concurrency_limit     429   (Retry-After)
    │   └── RateLimited            rate_limited          429   (Retry-After)
    └── Unavailable                unavailable           503   (Retry-After)
        └── NoWorker               no_worker             503

A code is permanent: clients match on it. `message` says what happened and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

Details = Mapping[str, Sequence[str]]


class NimbusError(Exception):
    """The root. Subclasses set `code` and `http_status`; the message is the caller's to read."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    retry_after_sec: int | None = None

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: Details | None = None,
        retry_after_sec: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_code = code or self.code
        self.details = details
        if retry_after_sec is not None:
            self.retry_after_sec = retry_after_sec

    def body(self, request_id: str) -> dict[str, object]:
        """The one JSON error shape."""
        shape: dict[str, object] = {"error": self.message, "code": self.error_code, "request_id": request_id}
        if self.details:
            shape["details"] = {field: list(messages) for field, messages in self.details.items()}
        return shape

    def headers(self) -> dict[str, str]:
        return {} if self.retry_after_sec is None else {"Retry-After": str(self.retry_after_sec)}


class InvalidRequest(NimbusError):
    code = "invalid_request"
    http_status = 400


class InvalidJson(InvalidRequest):
    code = "invalid_json"


class FunctionNotActive(InvalidRequest):
    code = "function_not_active"


class Unauthorized(NimbusError):
    code = "unauthorized"
    http_status = 401

    def headers(self) -> dict[str, str]:
        return super().headers() | {"WWW-Authenticate": "Bearer"}


class Forbidden(NimbusError):
    code = "forbidden"
    http_status = 403


class NotFound(NimbusError):
    code = "not_found"
    http_status = 404


class MethodNotAllowed(NimbusError):
    code = "method_not_allowed"
    http_status = 405


class Conflict(NimbusError):
    code = "conflict"
    http_status = 409


class PreconditionFailed(NimbusError):
    code = "precondition_failed"
    http_status = 412


class TooLarge(NimbusError):
    code = "too_large"
    http_status = 413


class UnsupportedMediaType(NimbusError):
    code = "unsupported_media_type"
    http_status = 415


class TooManyRequests(NimbusError):
    code = "concurrency_limit"
    http_status = 429
    retry_after_sec = 1


class RateLimited(TooManyRequests):
    code = "rate_limited"


class Unavailable(NimbusError):
    code = "unavailable"
    http_status = 503
    retry_after_sec = 2


class NoWorker(Unavailable):
    code = "no_worker"
