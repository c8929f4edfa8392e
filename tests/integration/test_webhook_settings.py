"""What a webhook is set to: kept, shown, checked, audited, and rotated with the platform's keys."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import AuditEntry
from functions import webhook_keys
from functions.models import Function
from nimbus_project.config import config
from tests.integration.hooks import ECHO, SECRET, hook
from tests.integration.plane import Api, refusal
from triggers import webhook_directory
from triggers.models import Webhook

pytestmark = pytest.mark.usefixtures("worker")


def test_settings_are_kept_and_shown(api: Api) -> None:
    made = api.create("hook", code=ECHO)
    assert api.get("/functions/hook/webhook").json() == {
        "id": made["id"],
        "webhook_enabled": False,
        "signature": {"scheme": "none", "has_secret": False, "has_previous_secret": False, "tolerance_sec": 0},
        "ip_allow": [],
        "rate_limit_per_min": 0,
        "mode": "sync",
    }
    settings = {
        "signature": {"scheme": "hmac-sha256", "secret": SECRET, "header": "X-Gitea-Signature", "tolerance_sec": 9},
        "ip_allow": ["10.1.2.3/8", "::1"],
        "rate_limit_per_min": 60,
        "mode": "async",
    }
    shown = api.put("/functions/hook/webhook", settings).json()
    assert shown == {
        "id": made["id"],
        "webhook_enabled": False,
        "signature": {
            "scheme": "hmac-sha256",
            "has_secret": True,
            "has_previous_secret": False,
            "header": "x-gitea-signature",
            "tolerance_sec": 9,
        },
        "ip_allow": ["10.0.0.0/8", "::1/128"],
        "rate_limit_per_min": 60,
        "mode": "async",
    }
    # What was shown can be sent back; what is absent stays.
    assert api.put("/functions/hook/webhook", shown).json() == shown
    assert api.put("/functions/hook/webhook", {}).json() == shown
    assert api.get("/functions/hook/webhook").json() == shown
    # Another scheme begins anew.
    other = api.put("/functions/hook/webhook", {"signature": {"scheme": "github", "secret": "x"}}).json()
    assert other["signature"] == {
        "scheme": "github",
        "has_secret": True,
        "has_previous_secret": False,
        "tolerance_sec": 300,
    }


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"signature": {"scheme": "github"}}, "signature.secret"),
        ({"signature": {"scheme": "github", "secret": ""}}, "signature.secret"),
        ({"signature": {"scheme": "github", "secret": 7}}, "signature.secret"),
        ({"signature": {"scheme": "md5", "secret": "x"}}, "signature.scheme"),
        ({"signature": {"secret": "x"}}, "signature.scheme"),
        ({"signature": {"scheme": "none", "secret": "x"}}, "signature.secret"),
        ({"signature": {"scheme": "none", "header": "X-A"}}, "signature.header"),
        ({"signature": {"scheme": "standard-webhooks", "secret": "whsec_?"}}, "signature.secret"),
        (
            {"signature": {"scheme": "standard-webhooks", "secret": "AAAA", "previous_secret": "?"}},
            "signature.previous_secret",
        ),
        ({"signature": {"scheme": "standard-webhooks", "secret": "AAAA", "header": "X"}}, "signature.header"),
        ({"signature": {"scheme": "stripe", "secret": "x", "tolerance_sec": 0}}, "signature.tolerance_sec"),
        ({"signature": {"scheme": "stripe", "secret": "x", "tolerance_sec": -1}}, "signature.tolerance_sec"),
        ({"signature": {"scheme": "stripe", "secret": "x", "tolerance_sec": 86_401}}, "signature.tolerance_sec"),
        ({"signature": {"scheme": "github", "secret": "x", "header": "X A"}}, "signature.header"),
        ({"signature": {"scheme": "github", "secret": "x", "more": 1}}, "signature.more"),
        ({"signature": "github"}, "signature"),
        ({"ip_allow": ["10.0.0.0/33"]}, "ip_allow"),
        ({"ip_allow": ["example.org"]}, "ip_allow"),
        ({"ip_allow": [1]}, "ip_allow.0"),
        ({"ip_allow": "10.0.0.0/8"}, "ip_allow"),
        ({"rate_limit_per_min": -1}, "rate_limit_per_min"),
        ({"rate_limit_per_min": "many"}, "rate_limit_per_min"),
        ({"mode": "later"}, "mode"),
        ({"secret": "x"}, "secret"),
    ],
)
def test_bad_settings_change_nothing(api: Api, settings: dict[str, Any], field: str) -> None:
    hook(api)
    before = api.get("/functions/hook/webhook").json()
    body = refusal(api.put("/functions/hook/webhook", settings), 400)
    assert field in body["details"], body
    assert api.get("/functions/hook/webhook").json() == before


def test_every_change_is_in_the_audit_log(api: Api) -> None:
    hook(api, ip_allow=["10.0.0.0/8"], signature={"scheme": "github", "secret": SECRET})
    api.put("/functions/hook/webhook", {"signature": {"scheme": "github", "secret": "another"}})
    api.post("/functions/hook/webhook/regenerate")
    api.post("/functions/hook/webhook/disable")
    entries = AuditEntry.objects.filter(object_type="webhook").order_by("id")
    actions = [entry.action for entry in entries]
    assert actions == ["webhook.update", "webhook.enable", "webhook.update", "webhook.regenerate", "webhook.disable"]
    first = entries[0]
    assert first.after is not None and first.after["ip_allow"] == ["10.0.0.0/8"]
    assert {entry.object_name for entry in entries} == {"hook"}


def test_keys_and_secrets_are_rotated(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from io import StringIO
    from pathlib import Path

    from cryptography.fernet import Fernet
    from django.core.management import call_command

    from nimbus_project.core import crypto

    path = hook(api, signature={"scheme": "github", "secret": SECRET})
    new = Fernet.generate_key().decode()
    monkeypatch.setattr(crypto, "_keyring", crypto.Keyring(f"{new},{config().secrets_key}", Path("/nonexistent")))
    output = StringIO()
    call_command("rotatesecrets", stdout=output)
    assert "1 secrets" in output.getvalue()
    monkeypatch.setattr(crypto, "_keyring", crypto.Keyring(new, Path("/nonexistent")))
    assert "/webhook/" + webhook_keys.key_of(Function.objects.get()) == path
    assert webhook_directory.secrets_of(Webhook.objects.get()) == [SECRET]
