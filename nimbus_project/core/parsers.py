"""Request bodies -> values. Hostile JSON is a 400, never a 500."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

import orjson
from rest_framework.parsers import BaseParser

from nimbus_project.core.errors import InvalidJson


def parse_json(body: bytes) -> Any:
    """Strict JSON (RFC 8259): no NaN, no lone surrogates, at most 1024 levels. Raises InvalidJson."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidJson(f"The body is not valid JSON: {error}.") from error


class StrictJsonParser(BaseParser):
    """DRF's door to `parse_json`; an empty body is an empty object."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body = stream.read()
        return parse_json(body) if body.strip() else {}
