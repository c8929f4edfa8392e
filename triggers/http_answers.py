"""Results of functions -> HTTP answers of custom routes and webhooks. Pure: bytes in, values out.

A result with an integer `statusCode` is an answer: ``{"statusCode", "headers"*, "multiValueHeaders"*, "cookies"*,
"body"*, "isBase64Encoded"*}``. Any other is 200 and the result as JSON.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from triggers.http_events import CONSOLE_COOKIES

Pairs = tuple[tuple[bytes, bytes], ...]

MAX_HEADERS = 200
MAX_HEADER_BYTES = 64 * 1024
"""All names and values together."""

# RFC 9110, 7.6.1: between two neighbours only. What `Connection` names goes too.
_HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_THE_SERVERS = frozenset({"content-length", "date", "server", "x-request-id"})
# They speak for the whole host, which is not one function's: where its traffic goes, what a browser keeps of it.
_THE_HOSTS = frozenset({"alt-svc", "clear-site-data", "service-worker-allowed", "strict-transport-security"})
_KEPT_BACK = _HOP_BY_HOP | _THE_SERVERS | _THE_HOSTS

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_BODILESS = frozenset({204, 205, 304})


class BadAnswer(ValueError):
    """The function meant to answer, and not in a form that can be sent. The message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A whole answer, but for the length of its body."""

    status: int
    headers: Pairs
    body: bytes

    @property
    def has_body(self) -> bool:
        """False: not even a length may be said (RFC 9110, 8.6)."""
        return self.status not in _BODILESS


def passed_through(output: bytes) -> Passed:
    """`output` is the result's JSON text. Raises BadAnswer."""
    result = _answer_in(output)
    if result is None:
        return Passed(200, ((b"content-type", b"application/json"),), output)
    status = result["statusCode"]
    if not 200 <= status <= 599:
        raise BadAnswer(f"statusCode is {status}; it must be 200 to 599.")
    body, content_type = (b"", b"") if status in _BODILESS else _body(result)
    headers = tuple(_headers(result))
    if not any(name == b"content-type" for name, _ in headers) and body:
        headers = ((b"content-type", content_type), *headers)
    return Passed(status, headers, body)


def _answer_in(output: bytes) -> dict[str, Any] | None:
    # Most results are none: they are not read here.
    if output[:1] != b"{" or b'"statusCode"' not in output:
        return None
    try:
        result: dict[str, Any] = orjson.loads(output)
    except orjson.JSONDecodeError as error:
        # A runner's own JSON may have half of a surrogate pair, which no UTF-8 text can have.
        raise BadAnswer(f"it is not strict JSON: {error}") from error
    status = result.get("statusCode")
    return result if isinstance(status, int) and not isinstance(status, bool) else None


def _body(result: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The bytes, and their type when the function does not say."""
    body = result.get("body")
    if body is None:
        return b"", b""
    if result.get("isBase64Encoded"):
        if not isinstance(body, str):
            raise BadAnswer("isBase64Encoded is set, but body is not text.")
        try:
            return base64.b64decode(body, validate=True), b"application/octet-stream"
        except (binascii.Error, ValueError) as error:
            raise BadAnswer("isBase64Encoded is set, but body is not base64.") from error
    if isinstance(body, str):
        return body.encode(), b"text/plain; charset=utf-8"
    return orjson.dumps(body), b"application/json"


def _headers(result: Mapping[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    given = dict(_values(result, "headers"))
    # Said twice, the list says more.
    given |= dict(_values(result, "multiValueHeaders"))
    given.setdefault("set-cookie", []).extend(_cookies(result))
    named = {part.strip().lower() for text in given.get("connection", ()) for part in text.split(",")}
    size = count = 0
    for name, texts in given.items():
        if name in _KEPT_BACK or name in named:
            continue
        for text in texts[:1] if name == "content-type" else texts:
            if _UNSAFE.search(text) or (name == "set-cookie" and _is_consoles(text)):
                continue
            pair = (name.encode(), text.encode())
            count, size = count + 1, size + len(pair[0]) + len(pair[1])
            if count > MAX_HEADERS or size > MAX_HEADER_BYTES:
                raise BadAnswer(f"More than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them.")
            yield pair


def _values(result: Mapping[str, Any], field: str) -> Iterator[tuple[str, list[str]]]:
    headers = result.get(field)
    if headers is None:
        return
    if not isinstance(headers, dict):
        raise BadAnswer(f"{field} must be an object.")
    for name, value in headers.items():
        if not _NAME.match(name):
            raise BadAnswer(f"{name[:80]!r} in {field} is no name of a header.")
        if value is not None:
            yield name.lower(), [_text(one, name) for one in (value if isinstance(value, list) else [value])]


def _cookies(result: Mapping[str, Any]) -> list[str]:
    cookies = result.get("cookies")
    if cookies is None:
        return []
    if not isinstance(cookies, list):
        raise BadAnswer("cookies must be a list of texts.")
    return [_text(cookie, "cookies") for cookie in cookies]


def _text(value: Any, name: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value).strip(" \t")
    raise BadAnswer(f"The header {name[:80]} must be text or a number.")


def _is_consoles(cookie: str) -> bool:
    return cookie.partition("=")[0].strip() in CONSOLE_COOKIES
