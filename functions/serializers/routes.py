"""Shapes of a function's custom route."""

from __future__ import annotations

import re
from typing import Any

from rest_framework import serializers

from functions.route_patterns import MAX_PATH, METHODS
from functions.routes import pattern_of
from functions.serializers.strict import StrictSerializer, TextField
from nimbus_project.core.errors import InvalidRequest

MAX_ORIGINS = 50
MAX_HEADERS = 100
# RFC 6454: scheme, host, port and nothing else; "null" is what every sandboxed page is, so it names nobody.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?\Z")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")


class HttpPathField(TextField):
    """A pattern; null and the empty text mean none."""

    def __init__(self, **kwargs: Any) -> None:
        about = "such as /users/{id}; {rest+} at the end takes all the rest; empty: no route"
        super().__init__(
            allow_blank=True, allow_null=True, max_length=MAX_PATH, trim_whitespace=False, help_text=about, **kwargs
        )

    def run_validation(self, data: Any = serializers.empty) -> Any:
        return "" if data is None else super().run_validation(data)

    def to_internal_value(self, data: Any) -> str:
        value = super().to_internal_value(data)
        if not value:
            return ""
        try:
            pattern_of(value)
        except InvalidRequest as error:
            raise serializers.ValidationError((error.details or {})["http_path"]) from error
        return value.rstrip("/")


class HttpMethodsField(serializers.ListField):
    """Methods in upper case, each once, in the usual order."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            child=TextField(max_length=8), max_length=len(METHODS), help_text=f"of {', '.join(METHODS)}", **kwargs
        )

    def to_internal_value(self, data: Any) -> list[str]:
        given = {method.upper() for method in super().to_internal_value(data)}
        if unknown := sorted(given - set(METHODS)):
            raise serializers.ValidationError(f"{unknown[0]!r} is none of {', '.join(METHODS)}.")
        return [method for method in METHODS if method in given]


class CorsSerializer(StrictSerializer):
    """Which pages of other sites may call the route, as in Fetch's CORS protocol."""

    allow_origins = serializers.ListField(
        child=TextField(max_length=255), max_length=MAX_ORIGINS, help_text="https://app.example.org, or * for all"
    )
    allow_methods = HttpMethodsField(required=False)
    allow_headers = serializers.ListField(
        child=TextField(max_length=100), required=False, max_length=MAX_HEADERS, help_text="absent: all"
    )
    allow_credentials = serializers.BooleanField(required=False)
    max_age = serializers.IntegerField(
        required=False, min_value=0, max_value=86_400, help_text="seconds that a browser may remember the answer"
    )

    def validate_allow_origins(self, value: list[str]) -> list[str]:
        origins = [origin if origin == "*" else origin.lower().rstrip("/") for origin in value]
        for origin in origins:
            if origin != "*" and not _ORIGIN.match(origin):
                raise serializers.ValidationError(f"{origin[:80]!r} is no origin such as https://app.example.org.")
        return list(dict.fromkeys(origins))

    def validate_allow_headers(self, value: list[str]) -> list[str]:
        for name in value:
            if not _TOKEN.match(name):
                raise serializers.ValidationError(f"{name[:80]!r} is no name of a header.")
        return list(dict.fromkeys(name.lower() for name in value))

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("allow_credentials") and "*" in attrs["allow_origins"]:
            # Fetch forbids it, and browsers refuse it: any page could act with its visitor's cookies.
            message = "Can't be all (*) together with allow_credentials: name the origins."
            raise serializers.ValidationError({"allow_origins": [message]})
        return attrs
