"""CloudEvents 1.0: HTTP messages in three encodings -> values, checked by the letter of the specification. Pure.

An event is kept as its JSON form (CloudEvents' JSON Event Format 1.0.2): attributes at the top, the payload as ``data``
(a JSON value, or text when its content type is text) or as ``data_base64``. Rules patterns and templates work on this
document, and functions are called with it.

The SDK from PyPI takes what the HTTP binding says MUST be rejected (invalid UTF-8, twofold headers) and knows neither
quoted header values nor batches' limits, so the decoder is here; the tests have the SDK as the other end.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

SPECVERSION = "1.0"
MEDIA_TYPE = "application/cloudevents"
STRUCTURED = f"{MEDIA_TYPE}+json"
BATCH = f"{MEDIA_TYPE}-batch+json"
REQUIRED = ("id", "source", "specversion", "type")
OPTIONAL = ("datacontenttype", "dataschema", "subject", "time")
MAX_DEPTH = 253
"""Of the payload: what orjson writes."""
MAX_ATTRIBUTE_BYTES = 64 * 1024
"""Names and values of one event together: as much as an intermediary MUST forward."""

Headers = Iterable[tuple[bytes, bytes]]
Problems = dict[str, list[str]]

_NAME = re.compile(r"[a-z0-9]+")
# "Type system", String: no control characters, no noncharacters, no surrogates.
_FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ud800-\udfff"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
_URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_MEDIA_TYPE = re.compile(rf'({_TOKEN})/({_TOKEN})((?:\s*;\s*{_TOKEN}=(?:{_TOKEN}|"(?:[^"\\]|\\.)*"))*)\s*;?')
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]+)', re.IGNORECASE)
_TEXT = re.compile(r"text/|[^;]*[/+]xml\s*(?:;|\Z)", re.IGNORECASE)
# Not whatever Python knows: some of its codecs take quadratic time.
_TEXT_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "iso-8859-1", "windows-1252"})
_TIMESTAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d):(\d\d)(?:\.\d+)?(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_INT32 = range(-(2**31), 2**31)


class InvalidEvent(ValueError):
    """Not a CloudEvent: `problems` by field (``id``, ``ce-id`` in a header, ``2.id`` in a batch)."""

    def __init__(self, problems: Mapping[str, Sequence[str]]) -> None:
        field, messages = next(iter(problems.items()))
        super().__init__(f"{field}: {messages[0]}")
        self.problems = problems


class UnsupportedFormat(ValueError):
    """CloudEvents in a format that is not JSON."""


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """A valid event. `json` is its document as JSON text."""

    document: dict[str, Any]
    json: bytes

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def source(self) -> str:
        return str(self.document["source"])

    @property
    def type(self) -> str:
        return str(self.document["type"])

    @property
    def subject(self) -> str:
        return str(self.document.get("subject", ""))


def decode(headers: Headers, body: bytes) -> list[CloudEvent]:
    """The events of an HTTP message; none for an empty batch. Raises InvalidEvent, UnsupportedFormat."""
    fields = [(name.decode("latin-1").lower(), value) for name, value in headers]
    content_type = next((value.decode("latin-1").strip() for name, value in fields if name == "content-type"), "")
    media_type = content_type.partition(";")[0].strip().lower()
    if not media_type.startswith(MEDIA_TYPE):
        return [_from_binary(fields, content_type, body)]
    _check_charset(content_type)
    if media_type == STRUCTURED:
        return [from_json(_parsed(body))]
    if media_type == BATCH:
        return _from_batch(_parsed(body))
    raise UnsupportedFormat(f"{media_type[:100]} is not understood: send {STRUCTURED} or {BATCH}.")


def from_json(value: Any) -> CloudEvent:
    """An event from its JSON form. Raises InvalidEvent."""
    if not isinstance(value, dict):
        raise InvalidEvent({"body": ["Must be a JSON object: a CloudEvent."]})
    # An attribute that is null is one that is not there.
    attributes = {name: given for name, given in value.items() if name not in _DATA and given is not None}
    problems = _problems(attributes)
    data, wrong = _json_data(value, attributes.get("datacontenttype"))
    if problems or wrong:
        raise InvalidEvent(problems | wrong)
    return _event(attributes | data)


def _event(document: dict[str, Any]) -> CloudEvent:
    try:
        return CloudEvent(document, orjson.dumps(document))
    except orjson.JSONEncodeError as error:
        # Its reader takes 1024 levels, its writer a quarter of that.
        raise InvalidEvent({"data": [f"Is nested deeper than {MAX_DEPTH} levels."]}) from error


_DATA = ("data", "data_base64")


def _from_batch(value: Any) -> list[CloudEvent]:
    if not isinstance(value, list):
        raise InvalidEvent({"body": ["Must be a JSON array of CloudEvents."]})
    events: list[CloudEvent] = []
    problems: Problems = {}
    for number, one in enumerate(value):
        try:
            events.append(from_json(one))
        except InvalidEvent as error:
            problems |= {f"{number}.{field}": list(messages) for field, messages in error.problems.items()}
    if problems:
        raise InvalidEvent(problems)
    # All have the one specversion that is supported, so they have the same, as the binding demands.
    return events


def _json_data(value: Mapping[str, Any], content_type: Any) -> tuple[dict[str, Any], Problems]:
    encoded = value.get("data_base64")
    if encoded is None:
        if "data" not in value:
            return {}, {}
        if isinstance(content_type, str) and not is_json(content_type) and not isinstance(value["data"], str):
            return {}, {"data": [f"Must be a string: its datacontenttype is {content_type[:100]}."]}
        return {"data": value["data"]}, {}
    if "data" in value:
        return {}, {"data_base64": ["Give data or data_base64, not both."]}
    try:
        return {"data_base64": _as_base64(base64.b64decode(encoded, validate=True))}, {}
    except (binascii.Error, ValueError, TypeError):
        return {}, {"data_base64": ["Must be Base64 (RFC 4648)."]}


def _from_binary(fields: Sequence[tuple[str, bytes]], content_type: str, body: bytes) -> CloudEvent:
    attributes: dict[str, Any] = {}
    problems: Problems = {}
    for name, raw in fields:
        if not name.startswith("ce-"):
            continue
        attribute = name[3:]
        if attribute in attributes:
            problems[name] = ["Is there more than once."]
        elif attribute == "datacontenttype":
            problems[name] = ["Must not be there: the Content-Type header says it."]
        else:
            try:
                attributes[attribute] = header_value(raw)
            except ValueError as error:
                attributes[attribute], problems[name] = "?", [str(error)]
    if content_type:
        attributes["datacontenttype"] = content_type
    for field, messages in _problems(attributes).items():
        problems.setdefault("content-type" if field == "datacontenttype" else f"ce-{field}", messages)
    data: dict[str, Any] = {}
    if body and not problems:
        try:
            data = _binary_data(content_type, body)
        except ValueError as error:
            problems["body"] = [str(error)]
    if problems:
        raise InvalidEvent(problems)
    return _event(attributes | data)


def _binary_data(content_type: str, body: bytes) -> dict[str, Any]:
    """As JSON where it is that, as text where it is that, else as bytes. Raises ValueError."""
    if is_json(content_type):
        try:
            return {"data": orjson.loads(body)}
        except orjson.JSONDecodeError as error:
            raise ValueError(f"Is not the JSON that its Content-Type says: {error}.") from error
    found = _CHARSET.search(content_type)
    charset = found[1].lower() if found else "utf-8"
    if charset in _TEXT_CHARSETS and _TEXT.match(content_type):
        try:
            return {"data": body.decode(charset)}
        except UnicodeDecodeError:
            pass
    return {"data_base64": _as_base64(body)}


def header_value(raw: bytes) -> str:
    """An attribute from its header (HTTP binding 3.1.3.2): quoted strings are unquoted, then percent-encoding is undone
    once. Raises ValueError for what is no printable ASCII, for escapes that are none, and for invalid UTF-8."""
    text = raw.strip(b" \t")
    if any(not 0x20 <= byte <= 0x7E for byte in text):
        raise ValueError("Must be printable ASCII: percent-encode everything else.")
    try:
        return _ESCAPE.sub(_unescaped, _unquoted(text)).decode()
    except UnicodeDecodeError:
        raise ValueError("Its percent-encoded bytes are not valid UTF-8.") from None


def _unescaped(escape: re.Match[bytes]) -> bytes:
    if escape[1] is None:
        raise ValueError("A % must be followed by two hexadecimal digits; % itself is %25.")
    return bytes((int(escape[1], 16),))


def _unquoted(text: bytes) -> bytes:
    """Double-quoted parts without their quotes and backslashes (RFC 7230 §3.2.6)."""
    if b'"' not in text:
        return text
    parts, quoted, rest = [], False, iter(text)
    for byte in rest:
        if byte == 0x22:
            quoted = not quoted
        elif quoted and byte == 0x5C:
            parts.append(next(rest, 0x5C))
        else:
            parts.append(byte)
    if quoted:
        raise ValueError("A double quote is opened and not closed.")
    return bytes(parts)


def is_json(content_type: str) -> bool:
    """``*/json`` or ``*/*+json``, parameters aside."""
    subtype = content_type.partition(";")[0].strip().lower().rpartition("/")[2]
    return subtype == "json" or subtype.endswith("+json")


def _problems(attributes: Mapping[str, Any]) -> Problems:
    problems: Problems = {name: ["Is required."] for name in REQUIRED if name not in attributes}
    size = 0
    for name, value in attributes.items():
        if problem := _name_problem(name) or _value_problem(name, value):
            problems[name[:64]] = [problem]
        size += len(name) + (len(value.encode(errors="replace")) if isinstance(value, str) else 5)
    if size > MAX_ATTRIBUTE_BYTES:
        problems["body"] = [f"Has {size} bytes of attributes; at most {MAX_ATTRIBUTE_BYTES} (64 KiB) are taken."]
    return problems


def _name_problem(name: str) -> str:
    if name in _DATA:
        return "No attribute may be called so."
    return "" if _NAME.fullmatch(name) else "Names of attributes have lower-case letters and digits only."


def _value_problem(name: str, value: Any) -> str:
    if name not in REQUIRED and name not in OPTIONAL:
        if isinstance(value, bool):
            return ""
        if isinstance(value, int):
            return "" if value in _INT32 else "Integers must have 32 bits."
    if not isinstance(value, str):
        known = name in REQUIRED or name in OPTIONAL
        return "Must be a string." if known else "Must be a string, an integer or a boolean."
    if _FORBIDDEN.search(value):
        return "Must not contain control characters, noncharacters or lone surrogates."
    return _CHECKS[name](value) if name in _CHECKS else ""


def _not_empty(value: str) -> str:
    return "" if value else "Must not be empty."


def _uri_reference(value: str) -> str:
    return "" if _URI_REFERENCE.fullmatch(value) else "Must be a non-empty URI-reference (RFC 3986)."


def _uri(value: str) -> str:
    good = _SCHEME.match(value) and _URI_REFERENCE.fullmatch(value)
    return "" if good else "Must be an absolute URI (RFC 3986)."


def _version(value: str) -> str:
    return "" if value == SPECVERSION else f"Must be {SPECVERSION}: no other version is understood."


def _media_type(value: str) -> str:
    return "" if _MEDIA_TYPE.fullmatch(value) else "Must be a media type (RFC 2046)."


def _timestamp(value: str) -> str:
    found = _TIMESTAMP.fullmatch(value)
    try:
        if found and int(found[3]) <= 60:
            # A leap second is RFC 3339's, not Python's.
            datetime.fromisoformat(f"{found[1]}T{found[2]}:{min(int(found[3]), 59):02}")
            return ""
    except ValueError:
        pass
    return "Must be a time such as 2018-04-05T17:31:00Z (RFC 3339)."


_CHECKS = {
    "id": _not_empty,
    "source": _uri_reference,
    "specversion": _version,
    "type": _not_empty,
    "subject": _not_empty,
    "datacontenttype": _media_type,
    "dataschema": _uri,
    "time": _timestamp,
}


def _check_charset(content_type: str) -> None:
    found = _CHARSET.search(content_type)
    if found and found[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedFormat("JSON is UTF-8: no other charset is understood.")


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidEvent({"body": [f"Is not valid JSON: {error}."]}) from error


def _as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
