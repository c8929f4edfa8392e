"""Health, metrics and the answers where nothing is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

import orjson
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, multiprocess
from prometheus_client import REGISTRY as PROCESS_REGISTRY
from redis.exceptions import RedisError

from accounts import permissions
from accounts.principal import principal_var
from nimbus_project.config import config
from nimbus_project.core import fleet, redis
from nimbus_project.core.errors import MethodNotAllowed, NimbusError, NotFound
from nimbus_project.core.logging import request_id_var
from nimbus_project.core.unforeseen import outage_of

View = Callable[[HttpRequest], HttpResponse]

_READING = ("GET", "HEAD")


def reading(view: View) -> View:
    """GET and HEAD; any other method is told so in the one error shape, and before Django asks it for a CSRF token."""

    @csrf_exempt
    @wraps(view)
    def checked(request: HttpRequest) -> HttpResponse:
        if request.method in _READING:
            return view(request)
        answer = _error(MethodNotAllowed(f'Method "{request.method}" not allowed.'))
        answer["Allow"] = ", ".join(_READING)
        return answer

    return checked


@reading
def health(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "healthy"})


@reading
def live(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "alive"})


@reading
def ready(request: HttpRequest) -> HttpResponse:
    """200 when a call could be answered now, else 503 with what is down."""
    down = {name: reason for name, check in _CHECKS.items() if (reason := check())}
    if down:
        return JsonResponse({"status": "not_ready", "down": down}, status=503)
    return JsonResponse({"status": "ready"})


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "The database does not answer."
    return ""


def _redis() -> str:
    try:
        redis.connection().ping()
    except RedisError:
        return "Redis does not answer."
    return ""


def _worker() -> str:
    try:
        return "" if fleet.living(redis.connection()) else "No worker is alive."
    except RedisError:
        return "Unknown: Redis does not answer."


_CHECKS = {"database": _database, "redis": _redis, "worker": _worker}


@reading
def metrics(request: HttpRequest) -> HttpResponse:
    """Web and workers together, where they share a folder of metrics files. For readers: function names are in it."""
    try:
        permissions.check(principal_var.get(), permissions.right_for("metrics", "GET"))
    except NimbusError as error:
        return _error(error)
    registry = PROCESS_REGISTRY
    if config().metrics_dir is not None:
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=str(config().metrics_dir))
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


@csrf_exempt
def not_found(request: HttpRequest, exception: Exception | None = None, **_: Any) -> HttpResponse:
    return _error(NotFound("There is nothing at this address."))


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _error(NimbusError("The request could not be understood.", code="invalid_request"), 400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _error(NimbusError("This is not allowed.", code="forbidden"), 403)


def failed(request: HttpRequest) -> HttpResponse:
    # Django calls this while it handles the exception, which it has logged already.
    away = outage_of(error) if (error := sys.exception()) is not None else None
    message = "Something went wrong inside Nimbus. The log has the details."
    return _error(away or NimbusError(message, code="internal_error"))


def _error(error: NimbusError, status: int | None = None) -> HttpResponse:
    body = orjson.dumps(error.body(request_id_var.get()))
    answer_status = status or error.http_status
    return HttpResponse(body, status=answer_status, content_type="application/json", headers=error.headers())
