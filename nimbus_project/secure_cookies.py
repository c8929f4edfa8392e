"""Cookies of somebody who came by HTTPS go back by HTTPS only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase


class SecureCookies:
    """Around the middleware that sets them. Django's own settings would say so for everybody, also on a laptop."""

    async_capable = True
    sync_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        answer = self._get_response(request)
        return self._later(request, answer) if isinstance(answer, Awaitable) else _marked(request, answer)

    async def _later(self, request: HttpRequest, answer: Awaitable[HttpResponseBase]) -> HttpResponseBase:
        return _marked(request, await answer)


def _marked(request: HttpRequest, answer: HttpResponseBase) -> HttpResponseBase:
    if answer.cookies and request.is_secure():
        for cookie in answer.cookies.values():
            cookie["secure"] = True
    return answer
