"""Django's sessions at the entrance: who has logged in, and whether a change really comes from our own page."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from django.contrib.auth import get_user
from django.contrib.sessions.backends.db import SessionStore
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from accounts.principal import Principal
from accounts.selectors import principal_of
from nimbus_project.core.errors import Forbidden
from nimbus_project.core.http import Scope

_COOKIE = "sessionid"


class _CsrfCheck(CsrfViewMiddleware):
    """Django's own check; answers with the reason instead of a page."""

    def _reject(self, request: HttpRequest, reason: str) -> Any:
        return reason


def principal_from(scope: Scope, address: str, *, check_csrf: bool) -> Principal | None:
    """Who the request's session belongs to, or None. Reads the database. Raises Forbidden for a method that changes
    things without Django's CSRF token, where `check_csrf` asks for it."""
    # The token must come as a header: without a content type Django does not look into the body, which is not here.
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    request = ASGIRequest({**scope, "headers": headers}, BytesIO())
    session_key = request.COOKIES.get(_COOKIE)
    if not session_key:
        return None
    request.session = SessionStore(session_key)
    user = get_user(request)
    if user.is_anonymous:
        return None
    if check_csrf:
        _check_csrf(request)
    return principal_of(user, address)


def _check_csrf(request: HttpRequest) -> None:
    check = _CsrfCheck(_no_view)
    check.process_request(request)
    reason = check.process_view(request, _no_view, (), {})
    if reason:
        raise Forbidden(f"This needs Django's CSRF token in X-CSRFToken, or an API key. {reason}", code="csrf_failed")


def _no_view(_: HttpRequest) -> HttpResponse:
    return HttpResponse()
