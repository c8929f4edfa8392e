"""Signatures of webhooks against the published vectors of each scheme, and against whoever has no secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook as StandardSender

from triggers import signing
from triggers.signing import MAX_SIGNATURES, Problem, Scheme, Signature, key_of, verify

Headers = dict[bytes, bytes]

# docs.github.com, "Validating webhook deliveries": secret, payload and signature of its own example.
GITHUB_SECRET = "It's a Secret to Everybody"
GITHUB_BODY = b"Hello, World!"
GITHUB_HEADERS = {
    b"x-hub-signature-256": b"sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    b"x-github-delivery": b"72d3162e-cc78-11e3-81ab-4c9367dc0958",
}
# The vector that the reference implementations of Standard Webhooks share.
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STANDARD_BODY = b'{"test": 2432232314}'
STANDARD_AT = 1614265330
STANDARD_HEADERS = {
    b"webhook-id": b"msg_p5jXN8AQM9LWM0D4loKWxJek",
    b"webhook-timestamp": b"1614265330",
    b"webhook-signature": b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
# Made with Stripe's own library (stripe 16.1.0, `WebhookSignature`).
STRIPE_SECRET = "whsec_test_secret"
STRIPE_BODY = b'{"id":"evt_1","object":"event","type":"charge.succeeded"}'
STRIPE_AT = 1492774577
STRIPE_V1 = b"91110bb4292e56d95b06660f55b3f65c0157840684729f1271e6da44c1ed57eb"
STRIPE_HEADERS = {b"stripe-signature": b"t=1492774577,v1=" + STRIPE_V1}
# RFC 4231, test case 2.
HMAC_SECRET = "Jefe"
HMAC_BODY = b"what do ya want for nothing?"
HMAC_HEX = b"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
HMAC_HEADERS = {b"x-signature-256": HMAC_HEX}

VECTORS: dict[Scheme, tuple[str, bytes, Headers, int]] = {
    Scheme.GITHUB: (GITHUB_SECRET, GITHUB_BODY, GITHUB_HEADERS, 1000),
    Scheme.STANDARD: (STANDARD_SECRET, STANDARD_BODY, STANDARD_HEADERS, STANDARD_AT),
    Scheme.STRIPE: (STRIPE_SECRET, STRIPE_BODY, STRIPE_HEADERS, STRIPE_AT),
    Scheme.HMAC_SHA256: (HMAC_SECRET, HMAC_BODY, HMAC_HEADERS, 1000),
}
SIGNED = pytest.mark.parametrize("scheme", list(VECTORS))


def signature(scheme: Scheme, *secrets: str, tolerance_sec: int = 300, header: str = "") -> Signature:
    keys = tuple(key_of(scheme, secret) for secret in secrets or (VECTORS[scheme][0],))
    return Signature(scheme=scheme, secrets=keys, header=header, tolerance_sec=tolerance_sec)


def problem(scheme: Scheme, headers: Headers, body: bytes, now: float, **more: int | str) -> Problem | None:
    return verify(signature(scheme, **more), headers, body, now).problem  # type: ignore[arg-type]


# -- what is right


@SIGNED
def test_the_published_vector_passes(scheme: Scheme) -> None:
    _, body, headers, at = VECTORS[scheme]
    verdict = verify(signature(scheme), headers, body, at)
    assert verdict.problem is None
    assert verdict.marks
    assert verdict.marks_sec >= 300


def test_a_sender_of_the_standards_own_library() -> None:
    at = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
    text = '{"grüße": "日本"}'
    made = StandardSender(STANDARD_SECRET).sign("msg_1", at, text)
    headers = {b"webhook-id": b"msg_1", b"webhook-timestamp": str(int(at.timestamp())).encode()}
    headers[b"webhook-signature"] = made.encode()
    assert problem(Scheme.STANDARD, headers, text.encode(), at.timestamp() + 10) is None


def test_svix_names_are_understood() -> None:
    headers = {name.replace(b"webhook-", b"svix-"): value for name, value in STANDARD_HEADERS.items()}
    assert problem(Scheme.STANDARD, headers, STANDARD_BODY, STANDARD_AT) is None


@pytest.mark.parametrize("secret", [STANDARD_SECRET, STANDARD_SECRET.removeprefix("whsec_")])
def test_the_prefix_of_a_secret_does_not_matter(secret: str) -> None:
    made = Signature(scheme=Scheme.STANDARD, secrets=(key_of(Scheme.STANDARD, secret),), tolerance_sec=300)
    assert verify(made, STANDARD_HEADERS, STANDARD_BODY, STANDARD_AT).problem is None


@pytest.mark.parametrize(
    "text",
    [
        HMAC_HEX,
        HMAC_HEX.upper(),
        b"sha256=" + HMAC_HEX,
        b" " + HMAC_HEX + b" ",
        base64.b64encode(bytes.fromhex(HMAC_HEX.decode())),
    ],
)
@pytest.mark.parametrize("name", [name.encode() for name in signing.USUAL_HEADERS])
def test_a_plain_hmac_is_found_where_it_usually_is(name: bytes, text: bytes) -> None:
    assert problem(Scheme.HMAC_SHA256, {name: text}, HMAC_BODY, 0) is None


def test_a_header_can_be_named() -> None:
    headers = {b"x-gitea-signature": HMAC_HEX, b"x-signature": b"0" * 64}
    assert problem(Scheme.HMAC_SHA256, headers, HMAC_BODY, 0, header="x-gitea-signature") is None
    assert problem(Scheme.HMAC_SHA256, headers, HMAC_BODY, 0, header="x-other") is Problem.NO_SIGNATURE


@SIGNED
def test_the_secret_before_is_accepted_while_it_is_replaced(scheme: Scheme) -> None:
    _, body, headers, at = VECTORS[scheme]
    # Base64 too, for the scheme that asks for it.
    new = "whsec_bmV3LXNlY3JldC1uZXctc2VjcmV0"
    both = signature(scheme, new, VECTORS[scheme][0])
    assert verify(both, headers, body, at).problem is None
    assert verify(signature(scheme, new), headers, body, at).problem is Problem.WRONG


def test_one_of_several_signatures_is_enough() -> None:
    wrong = b"0" * 64
    stripe = {b"stripe-signature": b"t=1492774577, v0=" + wrong + b",v1=" + wrong + b",v1=" + STRIPE_V1}
    assert problem(Scheme.STRIPE, stripe, STRIPE_BODY, STRIPE_AT) is None
    right = STANDARD_HEADERS[b"webhook-signature"]
    other = b"v1," + base64.b64encode(b"\0" * 32)
    many = STANDARD_HEADERS | {b"webhook-signature": b"v1a,xyz " + other + b" " + right}
    assert problem(Scheme.STANDARD, many, STANDARD_BODY, STANDARD_AT) is None


def test_without_a_scheme_everything_passes() -> None:
    verdict = verify(Signature(), GITHUB_HEADERS, b"", 0)
    assert (verdict.problem, verdict.marks) == (None, ())
    assert verdict.delivery_id.startswith("72d3162e")


# -- what is wrong


@SIGNED
@given(data=st.data())
def test_any_flipped_bit_of_the_body_is_refused(scheme: Scheme, data: st.DataObject) -> None:
    _, body, headers, at = VECTORS[scheme]
    bit = data.draw(st.integers(0, len(body) * 8 - 1))
    changed = bytearray(body)
    changed[bit // 8] ^= 1 << bit % 8
    assert problem(scheme, headers, bytes(changed), at) is Problem.WRONG


@SIGNED
@given(data=st.data())
def test_any_flipped_bit_of_a_signed_header_is_refused(scheme: Scheme, data: st.DataObject) -> None:
    _, body, headers, at = VECTORS[scheme]
    name = data.draw(st.sampled_from([name for name in headers if name != b"x-github-delivery"]))
    changed = bytearray(headers[name])
    # The case of hex digits is no part of what they say.
    bit = data.draw(st.integers(0, len(changed) * 8 - 1).filter(lambda bit: bit % 8 != 5))
    changed[bit // 8] ^= 1 << bit % 8
    assert problem(scheme, headers | {name: bytes(changed)}, body, at) is not None


@SIGNED
def test_another_secret_is_refused(scheme: Scheme) -> None:
    _, body, headers, at = VECTORS[scheme]
    assert verify(signature(scheme, "whsec_AAAA"), headers, body, at).problem is Problem.WRONG


@SIGNED
def test_each_missing_header_is_refused(scheme: Scheme) -> None:
    _, body, headers, at = VECTORS[scheme]
    assert problem(scheme, {}, body, at) is Problem.NO_SIGNATURE
    for name in headers.keys() - {b"x-github-delivery"}:
        assert problem(scheme, {k: v for k, v in headers.items() if k != name}, body, at) is Problem.NO_SIGNATURE
        assert problem(scheme, headers | {name: b""}, body, at) is Problem.NO_SIGNATURE


@pytest.mark.parametrize("scheme", [Scheme.STRIPE, Scheme.STANDARD])
def test_times_are_accepted_within_the_tolerance_and_not_outside(scheme: Scheme) -> None:
    _, body, headers, at = VECTORS[scheme]
    found = {ahead: problem(scheme, headers, body, at + ahead, tolerance_sec=60) for ahead in (-61, -60, 0, 60, 61)}
    assert found == {-61: Problem.IN_THE_FUTURE, -60: None, 0: None, 60: None, 61: Problem.TOO_OLD}


@pytest.mark.parametrize(
    ("scheme", "headers"),
    [
        (Scheme.GITHUB, {b"x-hub-signature-256": GITHUB_HEADERS[b"x-hub-signature-256"][7:]}),
        (Scheme.GITHUB, {b"x-hub-signature-256": b"sha1=" + b"0" * 40}),
        (Scheme.GITHUB, {b"x-hub-signature-256": b"sha256=" + b"zz" * 32}),
        (Scheme.STRIPE, {b"stripe-signature": b"v1=" + STRIPE_V1}),
        (Scheme.STRIPE, {b"stripe-signature": b"t=1492774577"}),
        (Scheme.STRIPE, {b"stripe-signature": b"t=1492774577,v0=" + STRIPE_V1}),
        (Scheme.STRIPE, {b"stripe-signature": b"t=1492774577,t=1492774577,v1=" + STRIPE_V1}),
        (Scheme.STRIPE, {b"stripe-signature": b"t=+1492774577,v1=" + STRIPE_V1}),
        (Scheme.STRIPE, {b"stripe-signature": b"t=1e99999,v1=" + STRIPE_V1}),
        (Scheme.STRIPE, {b"stripe-signature": b"t=" + b"9" * 5000 + b",v1=" + STRIPE_V1}),
        (Scheme.STRIPE, {b"stripe-signature": b"=,=,,;"}),
        (Scheme.STANDARD, STANDARD_HEADERS | {b"webhook-timestamp": b"1614265330.0"}),
        (Scheme.STANDARD, STANDARD_HEADERS | {b"webhook-timestamp": "١٦١٤٢٦٥٣٣٠".encode()}),
        (Scheme.STANDARD, STANDARD_HEADERS | {b"webhook-id": b"msg.1"}),
        (Scheme.STANDARD, STANDARD_HEADERS | {b"webhook-id": b"m" * 257}),
        (Scheme.STANDARD, STANDARD_HEADERS | {b"webhook-signature": STANDARD_HEADERS[b"webhook-signature"][3:]}),
        (Scheme.STANDARD, STANDARD_HEADERS | {b"webhook-signature": b"v1,"}),
        (Scheme.STANDARD, STANDARD_HEADERS | {b"webhook-signature": b"v1,v1,v1 , v1"}),
        (Scheme.HMAC_SHA256, {b"x-signature": b"Bearer abc"}),
        (Scheme.HMAC_SHA256, {b"x-signature": HMAC_HEX[:-1]}),
        (Scheme.HMAC_SHA256, {b"x-signature": HMAC_HEX + b"0"}),
    ],
)
def test_what_is_no_signature_is_refused(scheme: Scheme, headers: Headers) -> None:
    _, body, _, at = VECTORS[scheme]
    assert problem(scheme, headers, body, at) is Problem.MALFORMED


@SIGNED
@given(st.dictionaries(st.sampled_from([b"x-signature", *(n for v in VECTORS.values() for n in v[2])]), st.binary()))
def test_whatever_is_sent_is_refused_and_breaks_nothing(scheme: Scheme, headers: Headers) -> None:
    assert problem(scheme, headers, VECTORS[scheme][1], VECTORS[scheme][3]) is not None


def test_a_flood_of_signatures_is_refused() -> None:
    many = b"".join(b",v1=" + b"0" * 64 for _ in range(MAX_SIGNATURES))
    headers = {b"stripe-signature": b"t=1492774577" + many + b",v1=" + STRIPE_V1}
    assert problem(Scheme.STRIPE, headers, STRIPE_BODY, STRIPE_AT) is Problem.MALFORMED


@pytest.mark.parametrize("secret", ["whsec_not base64", "whsec_", "", "whsec_!!!!"])
def test_a_standard_secret_must_be_base64(secret: str) -> None:
    with pytest.raises(ValueError, match="Must"):
        key_of(Scheme.STANDARD, secret)


# -- replays


@SIGNED
def test_marks_tell_one_signed_content_from_another(scheme: Scheme) -> None:
    secret, body, headers, at = VECTORS[scheme]
    marks = verify(signature(scheme), headers, body, at).marks
    assert verify(signature(scheme), headers, body, at + 1).marks == marks
    # What is not signed changes nothing: a replay can't pass by it.
    assert verify(signature(scheme), headers | {b"x-github-delivery": b"x", b"more": b"y"}, body, at).marks == marks
    assert secret not in str(marks)


def test_a_retry_has_the_same_id_and_another_content() -> None:
    key = key_of(Scheme.STANDARD, STANDARD_SECRET)

    def sent(at: int) -> tuple[str, ...]:
        made = hmac.new(key, b"msg_1.%d.%b" % (at, STANDARD_BODY), hashlib.sha256).digest()
        headers = {b"webhook-id": b"msg_1", b"webhook-timestamp": b"%d" % at}
        headers[b"webhook-signature"] = b"v1," + base64.b64encode(made)
        return verify(signature(Scheme.STANDARD), headers, STANDARD_BODY, at).marks

    first, second = sent(1000), sent(1010)
    assert first[0] != second[0]
    assert first[1] == second[1]


@pytest.mark.parametrize("scheme", [Scheme.STRIPE, Scheme.STANDARD])
def test_marks_last_until_the_time_alone_refuses(scheme: Scheme) -> None:
    _, body, headers, at = VECTORS[scheme]
    for now in (at - 60, at, at + 60):
        lasts = verify(signature(scheme, tolerance_sec=60), headers, body, now).marks_sec
        assert problem(scheme, headers, body, now + lasts, tolerance_sec=60) is Problem.TOO_OLD


def test_a_plain_hmac_has_marks_for_as_long_as_was_asked() -> None:
    assert verify(signature(Scheme.HMAC_SHA256, tolerance_sec=0), HMAC_HEADERS, HMAC_BODY, 5).marks_sec == 0
    assert verify(signature(Scheme.HMAC_SHA256, tolerance_sec=30), HMAC_HEADERS, HMAC_BODY, 5).marks_sec == 30


# -- constant time


@SIGNED
def test_the_same_work_is_done_whatever_is_wrong(scheme: Scheme, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the clock is asked, which a busy machine upsets, but what is hashed and what compared."""
    work: list[tuple[int, int]] = []
    real_new, real_compare = hmac.new, hmac.compare_digest
    hashed = compared = 0

    def counting(key: bytes, message: bytes, algorithm: Any) -> hmac.HMAC:
        nonlocal hashed
        assert message.endswith(body)
        hashed += len(body)
        return real_new(key, message, algorithm)

    def compare(one: bytes, other: bytes) -> bool:
        nonlocal compared
        compared += 1
        assert len(one) == len(other) == 32
        return real_compare(one, other)

    monkeypatch.setattr(signing.hmac, "new", counting)
    monkeypatch.setattr(signing.hmac, "compare_digest", compare)
    secret, body, headers, at = VECTORS[scheme]
    both = signature(scheme, secret, "whsec_AAAA")
    wrong = {name: value[:-8] + b"AAAAAAA=" for name, value in headers.items()}
    for given_headers, now in ((headers, at), (headers, at + 9999), ({}, at), (wrong, at)):
        hashed = compared = 0
        verify(both, given_headers, body, now)
        work.append((hashed, compared))
    assert all(one == other for one, other in pairwise(work)), work
    assert work[0] == (2 * len(body), 2)
