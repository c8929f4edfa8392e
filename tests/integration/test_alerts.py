"""Alerts through the entrance: written, read, changed, refused; channels without their secrets; each owner's own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from accounts.models import AuditEntry
from nimbus_project.config import config
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, in_threads, refusal
from triggers import alert_channels, alerts
from triggers.models import AlertChannel, AlertRule

A = "/alerts"
HOOK = {"type": "webhook", "url": "https://hooks.example/path/TOKEN?key=TOKEN", "secret": "one-two-three"}
SLACK = {"type": "slack", "url": "https://hooks.slack.com/services/T/B/TOKEN"}
MAIL = {"type": "email", "to": ["ada@example.org", "ben@example.org"]}


@pytest.fixture
def plane(api: Api, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("NIMBUS_SMTP_HOST", "127.0.0.1")
    config.cache_clear()
    api.create()
    yield api
    monkeypatch.undo()
    config.cache_clear()


def alert(name: str = "fails", **changes: Any) -> dict[str, Any]:
    return {"name": name, "kind": "error_rate", "threshold": 0.05} | changes


def test_an_alert_is_made_read_changed_and_deleted(plane: Api) -> None:
    given = alert(function="hello", window_sec=600, min_samples=5, description="D.", channels=[HOOK, SLACK, MAIL])
    answer = plane.post(A, given)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["state"], made["enabled"], made["function"], made["last_samples"]) == ("ok", True, "hello", 0)
    hook, slack, mail = made["channels"]
    assert (hook["url"], hook["has_secret"]) == ("https://hooks.example/…", True)
    assert (slack["url"], slack["has_secret"]) == ("https://hooks.slack.com/…", False)
    assert mail["to"] == MAIL["to"] and "url" not in mail
    for reference in (made["id"], "fails", "fails/"):
        assert plane.get(f"{A}/{reference}").json() == made
    changed = plane.put(f"{A}/fails", {"threshold": 0.2, "function": ""}).json()
    assert (changed["threshold"], changed["window_sec"], "function" in changed) == (0.2, 600, False)
    assert changed["channels"] == made["channels"]
    changed = plane("PATCH", f"{A}/fails", json=changed | {"name": "renamed", "enabled": False}).json()
    assert (changed["name"], changed["enabled"], changed["channels"]) == ("renamed", False, made["channels"])
    assert plane.get(A).json()["alerts"] == [changed]
    assert plane("DELETE", f"{A}/renamed").status_code == 204
    refusal(plane.get(f"{A}/renamed"), 404, "alert_not_found")
    assert not AlertChannel.objects.exists()
    actions = AuditEntry.objects.filter(object_type="alert").order_by("at").values_list("action", flat=True)
    assert list(actions) == ["alert.create", "alert.update", "alert.update", "alert.delete"]


def test_defaults(plane: Api) -> None:
    made = plane.post(A, alert()).json()
    assert (made["window_sec"], made["min_samples"], made["channels"]) == (300, 10, [])
    assert "function" not in made and "last_value" not in made and "silenced_until" not in made


def test_nothing_shows_a_secret(plane: Api) -> None:
    plane.post(A, alert(channels=[HOOK, SLACK]))
    sent = plane.post(f"{A}/fails/test")
    shown = [plane.get(path).text for path in (A, f"{A}/fails", f"{A}/fails/notifications", f"{A}/fails/history")]
    stored = [bytes(row.ciphertext) for row in AlertChannel.objects.all()]
    logged = [str((entry.before, entry.after)) for entry in AuditEntry.objects.all()]
    for text in (*shown, sent.text, *map(str, stored), *logged):
        assert "TOKEN" not in text and "one-two-three" not in text
    addresses = [alert_channels.address_of(row) for row in AlertChannel.objects.order_by("place")]
    assert [one.url for one in addresses] == [HOOK["url"], SLACK["url"]] and addresses[0].secret == HOOK["secret"]


def test_channels_are_replaced_and_keep_what_is_not_given(plane: Api) -> None:
    hook, slack = plane.post(A, alert(channels=[HOOK, SLACK])).json()["channels"]
    other = {"type": "webhook", "url": "https://other.example/"}
    changed = plane.put(f"{A}/fails", {"channels": [other, {**hook, "secret": "new"}]}).json()["channels"]
    assert [one["id"] for one in changed][1] == hook["id"] and slack["id"] not in str(changed)
    assert changed[0]["url"] == "https://other.example"
    address = alert_channels.address_of(AlertChannel.objects.get(pk=hook["id"]))
    assert (address.url, address.secret) == (HOOK["url"], "new"), "its masked address means the one that it has"
    plane.put(f"{A}/fails", {"channels": [{"id": hook["id"], "type": "webhook", "secret": ""}]})
    address = alert_channels.address_of(AlertChannel.objects.get())
    assert (address.url, address.secret) == (HOOK["url"], "")


@pytest.mark.parametrize(
    ("changes", "field", "told"),
    [
        ({"name": "0x"}, "name", "start with a letter"),
        ({"kind": "memory"}, "kind", "not a valid choice"),
        ({"threshold": 1}, "threshold", "rate"),
        ({"threshold": -1}, "threshold", "rate"),
        ({"threshold": "0.5"}, "threshold", "number"),
        ({"threshold": True}, "threshold", "number"),
        ({"window_sec": 59}, "window_sec", "60"),
        ({"window_sec": 86_401}, "window_sec", "86400"),
        ({"min_samples": 0}, "min_samples", "1"),
        ({"function": "nothing"}, "function", "no function"),
        ({"function": "a\0"}, "function", ""),
        ({"channels": [{"type": "pager"}]}, "channels.0.type", "not a valid choice"),
        ({"channels": [{"type": "webhook"}]}, "channels.0.url", "required"),
        ({"channels": [SLACK, {"type": "webhook", "url": "ftp://x"}]}, "channels.1.url", "https://"),
        ({"channels": [{"type": "webhook", "url": "http://127.0.0.1/"}]}, "channels.0.url", "not a public address"),
        ({"channels": [{"type": "webhook", "url": "http://169.254.169.254/"}]}, "channels.0.url", "not a public"),
        ({"channels": [{"type": "webhook", "url": "https://u:p@x.example/"}]}, "channels.0.url", "password"),
        ({"channels": [SLACK | {"secret": "x"}]}, "channels.0.secret", "Only a webhook"),
        ({"channels": [SLACK | {"to": ["a@b.example"]}]}, "channels.0.to", "Only an email"),
        ({"channels": [{"type": "email", "to": []}]}, "channels.0.to", "1 to 20"),
        ({"channels": [{"type": "email", "to": ["nobody"]}]}, "channels.0.to", "no mail address"),
        ({"channels": [{"type": "email", "to": ["a@b.example\nBcc: c@d.example"]}]}, "channels.0.to", "no mail"),
        ({"channels": [MAIL | {"url": "https://x.example"}]}, "channels.0.url", "recipients only"),
        ({"channels": [HOOK | {"id": "0192f0c1-7c1e-7d5a-9f3b-0a1b2c3d4e5f"}]}, "channels.0.id", "no channel"),
        ({"channels": [HOOK] * 11}, "channels", "10"),
        ({"channels": [HOOK | {"port": 5}]}, "channels.0.port", "no such field"),
        ({"state": "firing", "x": 1}, "x", "no such field"),
    ],
)
def test_what_is_refused_and_where(plane: Api, changes: dict[str, Any], field: str, told: str) -> None:
    body = refusal(plane.post(A, alert(**changes)), 400, "invalid_request")
    assert field in body["details"], body
    assert told in body["details"][field][0]
    assert not AlertRule.objects.exists()


def test_a_channel_keeps_its_type(plane: Api) -> None:
    (hook,) = plane.post(A, alert(channels=[HOOK])).json()["channels"]
    told = refusal(plane.put(f"{A}/fails", {"channels": [SLACK | {"id": hook["id"]}]}), 400)
    assert "can't change" in told["details"]["channels.0.type"][0]
    twice = [{"id": hook["id"], "type": "webhook"}] * 2
    assert "twice" in refusal(plane.put(f"{A}/fails", {"channels": twice}), 400)["error"]
    assert AlertChannel.objects.count() == 1


def test_without_a_mail_server_there_is_no_mail(api: Api) -> None:
    assert "NIMBUS_SMTP_HOST" in refusal(api.post(A, alert(channels=[MAIL])), 400)["error"]


def test_names_and_numbers(plane: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = [one.status_code for one in in_threads(3, lambda _: plane.post(A, alert()))]  # type: ignore[union-attr]
    assert sorted(codes) == [201, 409, 409]
    plane.post(A, alert("other"))
    refusal(plane.put(f"{A}/other", {"name": "fails"}), 409, "alert_exists")
    monkeypatch.setattr(alerts, "MAX_ALERTS", 3)
    answers = in_threads(4, lambda n: plane.post(A, alert(f"a{n}")))
    assert sorted(one.status_code for one in answers) == [201, 400, 400, 400]  # type: ignore[union-attr]


def test_silence_and_its_end(plane: Api) -> None:
    plane.post(A, alert())
    shown = plane.post(f"{A}/fails/silence", {"duration_sec": 3600}).json()
    assert shown["silenced_until"] > shown["created_at"]
    until = (timezone.now() + timedelta(days=2)).isoformat()
    assert plane.post(f"{A}/fails/silence", {"until": until}).json()["silenced_until"][:16] == until[:16]
    assert "silenced_until" not in plane.post(f"{A}/fails/unsilence").json()
    for wrong in (
        {}, {"until": until, "duration_sec": 5}, {"until": "2020-01-01T00:00:00Z"}, {"until": "2100-01-01T00:00:00Z"},
        {"until": None}, {"duration_sec": 0}, {"duration_sec": 10**10},
    ):  # fmt: skip
        refusal(plane.post(f"{A}/fails/silence", wrong), 400)
    refusal(plane.post(f"{A}/nothing/silence", {"duration_sec": 5}), 404, "alert_not_found")
    actions = AuditEntry.objects.filter(object_type="alert").order_by("at").values_list("action", flat=True)
    assert list(actions) == ["alert.create", "alert.silence", "alert.silence", "alert.unsilence"]


def test_trying_one(plane: Api) -> None:
    plane.post(A, alert())
    assert "channels" in refusal(plane.post(f"{A}/fails/test"), 400)["details"]
    plane.put(f"{A}/fails", {"channels": [HOOK, MAIL]})
    answer = plane.post(f"{A}/fails/test")
    assert answer.status_code == 202
    sent = answer.json()["notifications"]
    assert [(one["channel"], one["told"], one["status"]) for one in sent] == [
        ("webhook: https://hooks.example/…", "test", "pending"),
        ("email: ada@example.org, ben@example.org", "test", "pending"),
    ]
    assert plane.get(f"{A}/fails/notifications").json()["total"] == 2


def test_each_owner_has_its_own(locked_entrance: Api) -> None:
    ann, ben = (As(locked_entrance, make_key(name, "developer")) for name in ("ann", "ben"))
    root = As(locked_entrance, make_key("root", "admin"))
    ann.create("anns")
    made = ann.post(A, alert(function="anns")).json()
    told = refusal(ben.post(A, alert(function="anns")), 400)
    assert told["error"] == refusal(ben.post(A, alert(function="nothing")), 400)["error"]
    for reference in ("fails", made["id"]):
        for method, path in (
            ("GET", ""), ("PUT", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/silence"), ("POST", "/unsilence"),
            ("POST", "/test"), ("GET", "/history"), ("GET", "/notifications"),
        ):  # fmt: skip
            body = {"json": {"duration_sec": 5} if path == "/silence" else {}} if method != "GET" else {}
            refusal(ben(method, f"{A}/{reference}{path}", **body), 404, "alert_not_found")
    assert ben.get(A).json()["total"] == 0
    assert ben.post(A, alert()).status_code == 201
    assert root.get(A).json()["total"] == 2
    refusal(root.get(f"{A}/fails"), 409, "ambiguous_name")
    assert "alert rules" in refusal(root("DELETE", "/users/ann"), 409)["error"]


def test_keys_are_changed(plane: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    plane.post(A, alert(channels=[HOOK]))
    before = bytes(AlertChannel.objects.get().ciphertext)
    call_command("rotatesecrets", verbosity=0)
    after = AlertChannel.objects.get()
    assert bytes(after.ciphertext) != before
    assert alert_channels.address_of(after).secret == HOOK["secret"]


def test_a_channel_that_no_key_opens(plane: Api) -> None:
    (hook,) = plane.post(A, alert(channels=[HOOK])).json()["channels"]
    AlertChannel.objects.update(ciphertext=b"nonsense")
    shown = plane.get(f"{A}/fails").json()["channels"]
    assert shown == [{"id": hook["id"], "type": "webhook", "unreadable": True}]
    refusal(plane.put(f"{A}/fails", {"channels": shown}), 400)
    whole = [{"id": hook["id"], **HOOK}]
    assert plane.put(f"{A}/fails", {"channels": whole}).json()["channels"][0]["url"] == "https://hooks.example/…"
