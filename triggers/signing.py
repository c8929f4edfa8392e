"""Signatures of webhooks: is this body from somebody who knows the secret, and sent just now? Pure: the time comes in.

    hmac-sha256        one header, hex or base64, "sha256=" before it or not, over the body
    github             X-Hub-Signature-256: sha256=<hex>, over the body
    stripe             Stripe-Signature: t=<Unix seconds>,v1=<hex>[,v1=<hex>…], over "<t>.<body>"
    standard-webhooks  webhook-id, webhook-timestamp, webhook-signature: v1,<base64>[ v1,<base64>…], over
                       "<id>.<timestamp>.<body>"; the secret is base64, "whsec_" before it or not (standardwebhooks.com)

Every check does the same work, whatever it comes to: each secret's HMAC over the whole body is made and compared with
each signature given, also when a header is missing or the time is long past. What was wrong is for the owner's log; the
sender hears only that it was refused.

The package `standardwebhooks` does the last of these, with five minutes and the system's clock built in, one secret,
and an early end; so it is what the tests send with, and not what decides here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

MAX_SIGNATURES = 16
"""In one request: each costs a comparison."""
MAX_ID = 256


class Scheme(StrEnum):
    NONE = "none"
    HMAC_SHA256 = "hmac-sha256"
    GITHUB = "github"
    STRIPE = "stripe"
    STANDARD = "standard-webhooks"


TIMED = frozenset({Scheme.STRIPE, Scheme.STANDARD})
"""Their signatures say when they were made."""
DEFAULT_TOLERANCE_SEC = {
    Scheme.NONE: 0,
    # It says neither when nor which: two equal bodies may well be two events. Whoever knows better sets a tolerance.
    Scheme.HMAC_SHA256: 0,
    Scheme.GITHUB: 300,
    Scheme.STRIPE: 300,
    Scheme.STANDARD: 300,
}
USUAL_HEADERS = ("x-signature-256", "x-signature", "x-webhook-signature", "x-hub-signature-256")
"""Where hmac-sha256 looks when no header was named."""


class Problem(StrEnum):
    """What was wrong. For the log of deliveries."""

    NO_SIGNATURE = "no_signature"
    MALFORMED = "malformed_signature"
    WRONG = "wrong_signature"
    TOO_OLD = "too_old"
    IN_THE_FUTURE = "in_the_future"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """How the requests of one webhook are signed."""

    scheme: Scheme = Scheme.NONE
    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    """Each of them is accepted: the newest, and the one before while it is being replaced. See `key_of`."""
    header: str = ""
    """Lower case; empty: the scheme's own."""
    tolerance_sec: int = 0
    """How far from now a time may be; and for so long the same signed content is not accepted again."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check came to."""

    problem: Problem | None = None
    marks: tuple[str, ...] = ()
    """What must not be accepted again for `marks_sec`: the signed content, and the delivery's id where it is signed."""
    marks_sec: int = 0
    delivery_id: str = ""
    """The sender's own, for the log; signed or not."""


@dataclass(slots=True)
class _Claim:
    """What a request says of itself."""

    signed: bytes
    """What stands before the body in the signed content."""
    given: Sequence[bytes]
    delivery_id: str = ""
    at: int | None = None
    problem: Problem | None = None
    signed_id: str = ""


def key_of(scheme: Scheme, secret: str) -> bytes:
    """The bytes that the HMAC takes. Raises ValueError with a sentence."""
    if scheme is not Scheme.STANDARD:
        return secret.encode()
    text = secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("Must be base64, with or without whsec_ before it.") from error
    if not key:
        raise ValueError("Must not be empty.")
    return key


def verify(signature: Signature, headers: Mapping[bytes, bytes], body: bytes, now: float) -> Verdict:
    """`headers` by lower-case name; `now` in Unix seconds."""
    if signature.scheme is Scheme.NONE:
        return Verdict(delivery_id=_shown(_first(headers, b"webhook-id", b"x-github-delivery")))
    claim = _CLAIMS[signature.scheme](signature, headers)
    content = claim.signed + body
    is_right = _matches(signature.secrets, claim, content)
    problem = claim.problem or (None if is_right else Problem.WRONG)
    if claim.at is not None:
        problem = problem or _time_problem(claim.at - now, signature.tolerance_sec)
    if problem is not None:
        return Verdict(problem, delivery_id=claim.delivery_id)
    marks = (hashlib.sha256(content).hexdigest(), *((f"id-{claim.signed_id}",) if claim.signed_id else ()))
    return Verdict(None, marks, _marks_sec(claim.at, signature.tolerance_sec, now), claim.delivery_id)


def _matches(secrets: Sequence[bytes], claim: _Claim, content: bytes) -> bool:
    found = False
    for secret in secrets:
        # Not `hmac.digest`, which gives Python's lock away for the smallest body.
        expected = hmac.new(secret, content, hashlib.sha256).digest()
        # No early end, and something to compare with in any case.
        for given in claim.given or (b"\0" * 32,):
            found |= hmac.compare_digest(expected, given)
    return found


def _time_problem(ahead_sec: float, tolerance_sec: int) -> Problem | None:
    if ahead_sec > tolerance_sec:
        return Problem.IN_THE_FUTURE
    return Problem.TOO_OLD if ahead_sec < -tolerance_sec else None


def _marks_sec(at: int | None, tolerance_sec: int, now: float) -> int:
    """Until the time alone would refuse it; without a time, as long as the tolerance."""
    return tolerance_sec if at is None else max(1, int(at - now) + tolerance_sec + 1)


# -- what requests say, by scheme


def _plain(signature: Signature, headers: Mapping[bytes, bytes]) -> _Claim:
    names = (signature.header,) if signature.header else USUAL_HEADERS
    texts = [text for name in names if (text := headers.get(name.encode()))]
    given = [raw for text in texts if (raw := _hex(_bare(text)) or _base64(_bare(text)))]
    claim = _Claim(b"", given, _shown(_first(headers, b"x-request-id", b"x-delivery-id", b"webhook-id")))
    claim.problem = None if given else Problem.MALFORMED if texts else Problem.NO_SIGNATURE
    return claim


def _github(signature: Signature, headers: Mapping[bytes, bytes]) -> _Claim:
    text = headers.get((signature.header or "x-hub-signature-256").encode(), b"")
    raw = _hex(text.removeprefix(b"sha256=")) if text.startswith(b"sha256=") else None
    claim = _Claim(b"", [raw] if raw else [], _shown(headers.get(b"x-github-delivery", b"")))
    claim.problem = None if raw else Problem.MALFORMED if text else Problem.NO_SIGNATURE
    return claim


def _stripe(signature: Signature, headers: Mapping[bytes, bytes]) -> _Claim:
    text = headers.get((signature.header or "stripe-signature").encode(), b"")
    pairs = [part.strip().partition(b"=") for part in text.split(b",")]
    times = [value for name, _, value in pairs if name == b"t"]
    texts = [value for name, _, value in pairs if name == b"v1"]
    at = _seconds(times[0]) if len(times) == 1 else None
    given = _all(_hex, texts)
    claim = _Claim((times[0] if at is not None else b"0") + b".", given, at=at)
    if not text:
        claim.problem = Problem.NO_SIGNATURE
    elif at is None or not given or len(texts) > MAX_SIGNATURES:
        claim.problem = Problem.MALFORMED
    return claim


def _standard(_: Signature, headers: Mapping[bytes, bytes]) -> _Claim:
    # Svix, where the standard comes from, has names of its own beside it.
    prefix = b"webhook-" if b"webhook-signature" in headers else b"svix-"
    id_, time, text = (headers.get(prefix + name, b"") for name in (b"id", b"timestamp", b"signature"))
    texts = [part[3:] for part in text.split(b" ") if part.startswith(b"v1,")]
    at, given = _seconds(time), _all(_base64, texts)
    # The dots tell the three apart: one in the id would let its end pass for a time.
    is_sane = 0 < len(id_) <= MAX_ID and b"." not in id_ and at is not None
    claim = _Claim(id_ + b"." + time + b"." if is_sane else b"0.0.", given, _shown(id_), at if is_sane else None)
    claim.signed_id = hashlib.sha256(id_).hexdigest()
    if not (id_ and time and text):
        claim.problem = Problem.NO_SIGNATURE
    elif not is_sane or not given or len(texts) > MAX_SIGNATURES:
        claim.problem = Problem.MALFORMED
    return claim


_CLAIMS = {
    Scheme.HMAC_SHA256: _plain,
    Scheme.GITHUB: _github,
    Scheme.STRIPE: _stripe,
    Scheme.STANDARD: _standard,
}


# -- texts


def _all(decoded: Callable[[bytes], bytes | None], texts: Sequence[bytes]) -> list[bytes]:
    """Those that are digests: others may be of a scheme that is not known here."""
    return [raw for text in texts[:MAX_SIGNATURES] if (raw := decoded(text)) is not None]


def _bare(text: bytes) -> bytes:
    return text.strip().removeprefix(b"sha256=")


def _hex(text: bytes) -> bytes | None:
    if len(text) != 64:
        return None
    try:
        return binascii.unhexlify(text)
    except binascii.Error:
        return None


def _base64(text: bytes) -> bytes | None:
    if len(text) != 44:
        return None
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    # The last letter has bits that are no part of the bytes: one spelling only.
    return raw if base64.b64encode(raw) == text and len(raw) == 32 else None


_SECONDS = re.compile(rb"[0-9]{1,12}\Z")


def _seconds(text: bytes) -> int | None:
    return int(text) if _SECONDS.match(text) else None


def _first(headers: Mapping[bytes, bytes], *names: bytes) -> bytes:
    return next((headers[name] for name in names if name in headers), b"")


def _shown(text: bytes) -> str:
    """As it may go into a column and a log line."""
    return "".join(c if c.isprintable() else "?" for c in text[:128].decode("latin-1"))
