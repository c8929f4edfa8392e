"""Webhooks as their senders and their owners see them: tools of the tests of webhooks."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook as StandardSender

from tests.integration.plane import Api

ECHO = "def main(event):\n    return event\n"
SECRET = "correct-horse-battery-staple"
STANDARD_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ANSWERS = """
def main(event):
    what = event["body"]
    if what == "fail":
        raise RuntimeError("a secret detail")
    return what
"""
BODY = b'{ "action":"opened", "n": 1.0 }'


def hook(api: Api, name: str = "hook", code: str = ECHO, **settings: Any) -> str:
    """A function with its webhook enabled; the path of it."""
    api.create(name, code=code)
    if settings:
        answer = api.put(f"/functions/{name}/webhook", settings)
        assert answer.status_code == 200, answer.text
    return "/webhook/" + api.post(f"/functions/{name}/webhook/enable").json()["webhook_key"]


def send(api: Api, path: str, body: bytes = BODY, **headers: str) -> httpx.Response:
    """Header names with _ for -."""
    given = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return api("POST", path, content=body, headers=given)


def runs(api: Api, name: str = "hook") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/functions/{name}/invocations").json()["invocations"]
    return found


def log_of(api: Api, name: str = "hook") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/functions/{name}/webhook/deliveries").json()["deliveries"]
    return found


def digest(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def github(body: bytes) -> dict[str, str]:
    return {"x-hub-signature-256": "sha256=" + digest(body), "x-github-delivery": "d-1", "x-github-event": "push"}


def stripe(body: bytes) -> dict[str, str]:
    at = int(time.time())
    return {"stripe-signature": f"t={at},v1={'0' * 64},v1={digest(b'%d.%b' % (at, body))}"}


def standard(body: bytes, msg_id: str = "") -> dict[str, str]:
    at, msg_id = datetime.now(UTC), msg_id or f"msg_{len(body)}"
    made = StandardSender(STANDARD_SECRET).sign(msg_id, at, body.decode())
    return {"webhook-id": msg_id, "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": made}


def plain(body: bytes) -> dict[str, str]:
    return {"x-signature": digest(body)}


Sender = Callable[[bytes], dict[str, str]]
SENDERS: list[tuple[str, Sender]] = [
    ("github", github),
    ("stripe", stripe),
    ("standard-webhooks", standard),
    ("hmac-sha256", plain),
]
EACH = pytest.mark.parametrize(("scheme", "sender"), SENDERS, ids=[scheme for scheme, _ in SENDERS])


def secret_for(scheme: str) -> str:
    return STANDARD_SECRET if scheme == "standard-webhooks" else SECRET


def deliver(api: Api, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    return api("POST", path, content=body, headers={"content-type": "application/json"} | headers)
