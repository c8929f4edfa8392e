"""CORS of a custom route: which pages of other sites may call it, and what their browsers are told. Pure.

`Cors` is the function's field as it was checked: ``{allow_origins, allow_methods, allow_headers, allow_credentials,
max_age}``; the last four may be missing. The protocol is the one of https://fetch.spec.whatwg.org/#http-cors-protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from triggers.http_answers import Pairs

Cors = Mapping[str, Any]

_OWN = frozenset(
    {
        b"access-control-allow-origin", b"access-control-allow-methods", b"access-control-allow-headers",
        b"access-control-allow-credentials", b"access-control-max-age",
    }
)  # fmt: skip


def allows(cors: Cors, origin: str) -> bool:
    """Whether pages of this origin may call; no origin at all is none of them."""
    allowed: Sequence[str] = cors.get("allow_origins", ())
    return bool(origin) and ("*" in allowed or origin.lower() in allowed)


def preflight(cors: Cors, methods: Sequence[str], origin: str, asked_headers: str) -> Pairs:
    """The headers that answer a preflight of an allowed origin. `methods`: those of the route."""
    allowed_methods = [m for m in cors.get("allow_methods") or methods if m in methods or m == "HEAD"]
    headers = cors.get("allow_headers")
    # To name what was asked for means "all", also to browsers that know no star, and where credentials forbid it.
    allowed_headers = asked_headers if headers is None or "*" in headers else ", ".join(headers)
    found = [*_origin(cors, origin), (b"access-control-allow-methods", ", ".join(allowed_methods).encode())]
    if allowed_headers:
        found.append((b"access-control-allow-headers", allowed_headers.encode("latin-1", "ignore")))
    if "max_age" in cors:
        found.append((b"access-control-max-age", str(cors["max_age"]).encode()))
    return tuple(found)


def with_cors(headers: Pairs, cors: Cors, origin: str) -> Pairs:
    """The function's headers with what the route says in place of what the function may say itself. An origin that is
    not allowed is told nothing: its browser keeps the answer from the page."""
    kept = tuple(pair for pair in headers if pair[0] not in _OWN)
    return (*kept, *_origin(cors, origin)) if allows(cors, origin) else (*kept, *_vary(cors))


def _origin(cors: Cors, origin: str) -> Pairs:
    if "*" in cors["allow_origins"]:
        return ((b"access-control-allow-origin", b"*"),)
    found = [(b"access-control-allow-origin", origin.encode("latin-1", "ignore")), *_vary(cors)]
    if cors.get("allow_credentials"):
        found.append((b"access-control-allow-credentials", b"true"))
    return tuple(found)


def _vary(cors: Cors) -> Pairs:
    """No cache may give one origin's answer to another."""
    return () if "*" in cors.get("allow_origins", ()) else ((b"vary", b"origin"),)
