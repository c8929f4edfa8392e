"""HTTP requests -> the events that functions get of webhooks and custom routes. Pure: bytes in, JSON text out."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson

RawHeaders = Iterable[tuple[bytes, bytes]]

CONSOLE_COOKIES = frozenset({"sessionid", "csrftoken"})
"""Django's: a browser sends them to every address of the host, and they are nobody's business but the platform's."""
CREDENTIALS = frozenset({b"authorization", b"x-api-key"})

_TEXTUAL = ("text/", "application/x-www-form-urlencoded", "application/javascript", "application/xml")


def webhook_event(headers: RawHeaders, query_string: bytes, body: bytes, *, raw_json: bool) -> bytes:
    """``{"source": "webhook", "method", "headers", "query", "body", "raw_body_base64"*}``: `body` is the JSON value,
    else text, else null. The bytes as they came go with what is not text, and with JSON if `raw_json`."""
    shown = headers_shape(headers)
    head = {"source": "webhook", "method": "POST", "headers": shown, **query_shape(query_string)}
    raw = {"raw_body_base64": base64.b64encode(body).decode()}
    content_type = _media_type(shown)
    if _is_json(content_type) and (value := _json_text(body)) is not None:
        return _object(head, value, raw if raw_json else {})
    text = _text(body) if _is_textual(content_type) else None
    return _object(head, orjson.dumps(text or None), raw if text is None else {})


@dataclass(frozen=True, slots=True)
class RouteFrame:
    """The event of a route's request, but for the body. Requests of one sender often differ in nothing else."""

    head: bytes
    is_textual: bool

    def event(self, body: bytes) -> bytes:
        """``{"httpMethod", "path", "pathParameters", "query", "headers", "body", "isBase64Encoded"}``: `body` is text,
        or base64 of what is none; null when there is none."""
        text = _text(body) if self.is_textual else None
        shown = base64.b64encode(body).decode() if text is None else text
        tail = b',"isBase64Encoded":true}' if text is None else b',"isBase64Encoded":false}'
        return b"".join((self.head, b',"body":', orjson.dumps(shown or None), tail))


def route_frame(
    method: str,
    path: str,
    parameters: Mapping[str, str],
    headers: RawHeaders,
    query_string: bytes,
    *,
    hidden: frozenset[bytes] = frozenset(),
) -> RouteFrame:
    """`hidden`: headers that are left out."""
    shown = headers_shape((name, value) for name, value in headers if name not in hidden)
    head = {
        "httpMethod": method,
        "path": path,
        "pathParameters": dict(parameters),
        **query_shape(query_string),
        "headers": shown,
    }
    return RouteFrame(orjson.dumps(head)[:-1], _is_textual(_media_type(shown)))


def headers_shape(headers: RawHeaders) -> dict[str, str]:
    """By lower-case name; what is there several times in one text, as RFC 9110 joins it. Without the console's
    cookies."""
    found: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name == "cookie":
            value = _other_cookies(value)
            if not value:
                continue
        before = found.get(name)
        found[name] = value if before is None else f"{before}{'; ' if name == 'cookie' else ', '}{value}"
    return found


def query_shape(query_string: bytes) -> dict[str, Any]:
    """``query``: the last value of each name; ``multiValueQuery``*: all values, when some name has several."""
    if not query_string:
        return {"query": {}}
    pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    last = dict(pairs)
    if len(last) == len(pairs):
        return {"query": last}
    several: dict[str, list[str]] = {}
    for name, value in pairs:
        several.setdefault(name, []).append(value)
    return {"query": last, "multiValueQuery": several}


def _other_cookies(text: str) -> str:
    pairs = (pair.strip() for pair in text.split(";"))
    return "; ".join(pair for pair in pairs if pair and pair.partition("=")[0].strip() not in CONSOLE_COOKIES)


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_json(content_type: str) -> bool:
    return content_type in ("", "application/json") or content_type.endswith("+json")


def _is_textual(content_type: str) -> bool:
    return _is_json(content_type) or content_type.startswith(_TEXTUAL) or content_type.endswith("+xml")


def _json_text(body: bytes) -> bytes | None:
    """The body itself, known to be JSON; None when it is not."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return body


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _object(head: Mapping[str, Any], body: bytes, tail: Mapping[str, Any]) -> bytes:
    """The body's JSON put in as it is: neither read nor written again."""
    parts = [orjson.dumps(head)[:-1], b',"body":', body]
    parts.append(b"," + orjson.dumps(tail)[1:] if tail else b"}")
    return b"".join(parts)
