"""The custom route of a function: an address outside the API that calls it.

The fields are the function's; which address and method belongs to whom is a table of its own, whose unique constraint
decides when two want the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from django.db import IntegrityError, transaction
from django.urls import get_resolver

from functions import directory, route_patterns
from functions.errors import FunctionNotFound, RouteTaken
from functions.models import Function, FunctionRoute, HttpAuth
from functions.route_patterns import DEFAULT_METHODS, Pattern
from functions.selectors import function_get
from nimbus_project.core.errors import InvalidRequest

FIELDS = ("http_path", "http_methods", "http_auth", "cors")
ROUTES = "routes"
"""The news (`directory.announce`) that some route has changed."""
_RESERVED = frozenset(
    # The last one speaks for the whole host: whoever answers there can prove to others that it is theirs.
    {"api", "admin", "health", "metrics", "webhook", "static", "login", "logout", ".well-known"}
)


@lru_cache(maxsize=1)
def reserved() -> frozenset[str]:
    """First segments that no route may have: the promised ones, and whatever Django answers besides."""
    tops = (str(pattern.pattern).lstrip("^") for pattern in get_resolver().url_patterns)
    return _RESERVED | {top.partition("/")[0] for top in tops if top and top[0].isalnum()}


def pattern_of(path: str) -> Pattern:
    """Raises InvalidRequest."""
    try:
        return route_patterns.parse(path, reserved())
    except ValueError as error:
        raise InvalidRequest(f"http_path: {error}", details={"http_path": [str(error)]}) from error


def route_set(function: Function, given: Mapping[str, Any]) -> None:
    """Give the function, a row already, what is there of FIELDS. Under its row lock. Raises InvalidRequest,
    RouteTaken."""
    before = fields_of(function)
    for key in FIELDS:
        if key in given:
            setattr(function, key, {} if given[key] is None else given[key])
    if not function.http_path:
        if given.get("http_methods"):
            message = "Needs http_path: without an address there is nothing to call by these methods."
            raise InvalidRequest(f"http_methods: {message}", details={"http_methods": [message]})
        function.http_methods = []
        function.http_auth = HttpAuth.NONE
        function.cors = {}
    elif not function.http_methods:
        function.http_methods = list(DEFAULT_METHODS)
    if fields_of(function) != before:
        function.save(update_fields=[*FIELDS, "updated_at"])
        _occupy(function)
        directory.announce(ROUTES)


def fields_of(function: Function) -> dict[str, Any]:
    """For comparisons and the audit log."""
    return {key: getattr(function, key) for key in FIELDS}


def _occupy(function: Function) -> None:
    FunctionRoute.objects.filter(function=function).delete()
    if not function.http_path:
        return
    pattern, methods = pattern_of(function.http_path).canonical, function.http_methods
    try:
        with transaction.atomic():
            FunctionRoute.objects.bulk_create(
                FunctionRoute(function=function, pattern=pattern, method=method) for method in methods
            )
    except IntegrityError as error:
        raise _taken(pattern, methods) from error


def _taken(pattern: str, methods: Sequence[str]) -> RouteTaken:
    """Names the other function to those only who may see it."""
    row = FunctionRoute.objects.filter(pattern=pattern, method__in=methods).select_related("function").first()
    whose = "another function"
    if row is not None:
        try:
            whose = f"the function {function_get(str(row.function_id)).name}"
        except FunctionNotFound:
            pass
    what = f"{row.method} " if row is not None else ""
    message = f"{what}{pattern} is taken by {whose}. Choose another address or other methods."
    return RouteTaken(message, details={"http_path": [message]})
