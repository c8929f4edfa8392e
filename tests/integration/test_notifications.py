"""Messages of alerts to real receivers: a web server and a mail server on loopback."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from aiosmtpd.controller import Controller
from django.utils import timezone

from nimbus_project.config import config
from tests.integration.plane import Api, in_threads
from tests.receiver import Receiver, receiver
from tests.services import free_port
from triggers import notifications
from triggers.models import AlertNotification

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()


class Inbox:
    """Keeps what it is sent; refuses while told to."""

    def __init__(self) -> None:
        self.letters: list[Any] = []
        self.refuse = False

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refuse:
            return "451 try again"
        self.letters.append(envelope)
        return "250 OK"


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("NIMBUS_OUTGOING_ALLOW", "127.0.0.1")
    config.cache_clear()
    with receiver() as running:
        yield running
    monkeypatch.undo()
    config.cache_clear()


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Inbox]:
    kept, port = Inbox(), free_port()
    controller = Controller(kept, hostname="127.0.0.1", port=port)
    controller.start()
    monkeypatch.setenv("NIMBUS_SMTP_HOST", "127.0.0.1")
    config.cache_clear()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", port, False
    yield kept
    controller.stop()
    monkeypatch.undo()
    config.cache_clear()


def alert(api: Api, *channels: dict[str, Any]) -> None:
    given = {"name": "fails", "kind": "error_rate", "threshold": 0.1, "channels": list(channels)}
    answer = api.post("/alerts", given)
    assert answer.status_code == 201, answer.text


def sent(api: Api) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = api.get("/alerts/fails/notifications").json()["notifications"]
    return rows


def make_due() -> None:
    AlertNotification.objects.filter(status="pending").update(next_attempt_at=timezone.now())


def test_a_signed_webhook(api: Api, there: Receiver) -> None:
    alert(api, {"type": "webhook", "url": f"{there.url}/hook?key=1", "secret": SECRET})
    api.post("/alerts/fails/test")
    assert notifications.run() == 1
    (got,) = there.received
    assert got.path == "/hook?key=1" and got.headers["content-type"] == "application/json"
    message = orjson.loads(got.body)
    assert (message["alert"], message["state"], message["kind"]) == ("fails", "test", "error_rate")
    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    digest = hmac.new(b"0123456789abcdef", signed, hashlib.sha256).digest()
    assert got.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    (row,) = sent(api)
    assert (row["status"], row["attempts"], row["id"]) == ("delivered", 1, got.headers["webhook-id"])
    assert notifications.run() == 0


def test_slack(api: Api, there: Receiver) -> None:
    alert(api, {"type": "slack", "url": f"{there.url}/services/T/B/X"})
    api.post("/alerts/fails/test")
    notifications.run()
    assert "*fails is being tested*" in orjson.loads(there.received[0].body)["text"]
    assert "webhook-signature" not in there.received[0].headers


def test_mail(api: Api, inbox: Inbox) -> None:
    alert(api, {"type": "email", "to": ["ada@example.org", "ben@example.org"]})
    api.post("/alerts/fails/test")
    notifications.run()
    (letter,) = inbox.letters
    assert letter.rcpt_tos == ["ada@example.org", "ben@example.org"]
    assert b"Subject: [Nimbus] fails is being tested" in letter.content
    assert b"From: nimbus@localhost" in letter.content
    assert sent(api)[0]["status"] == "delivered"


def test_a_mail_server_that_refuses_is_tried_again(api: Api, inbox: Inbox) -> None:
    alert(api, {"type": "email", "to": ["ada@example.org"]})
    api.post("/alerts/fails/test")
    inbox.refuse = True
    notifications.run()
    assert (sent(api)[0]["status"], sent(api)[0]["attempts"]) == ("pending", 1)
    inbox.refuse = False
    make_due()
    notifications.run()
    assert (sent(api)[0]["status"], sent(api)[0]["attempts"]) == ("delivered", 2)


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_what_may_pass_is_tried_again_with_back_off(api: Api, there: Receiver, status: int) -> None:
    alert(api, {"type": "webhook", "url": there.url})
    api.post("/alerts/fails/test")
    there.answers = [status]
    before = timezone.now()
    assert notifications.run() == 1, "nothing sleeps: the row waits"
    row = AlertNotification.objects.get()
    assert (row.status, row.attempts) == ("pending", 1) and str(status) in row.error
    assert row.next_attempt_at is not None and row.next_attempt_at > before + timedelta(seconds=2)
    make_due()
    notifications.run()
    assert sent(api)[0]["status"] == "delivered" and len(there.received) == 2


@pytest.mark.parametrize("status", [301, 302, 400, 404, 410])
def test_what_does_not_pass_is_given_up(api: Api, there: Receiver, status: int) -> None:
    alert(api, {"type": "webhook", "url": there.url})
    api.post("/alerts/fails/test")
    there.answers = [status]
    notifications.run()
    assert (sent(api)[0]["status"], len(there.received)) == ("failed", 1)


def test_in_the_end_it_is_given_up(api: Api, there: Receiver) -> None:
    alert(api, {"type": "webhook", "url": there.url})
    api.post("/alerts/fails/test")
    there.answers = [500] * 20
    for _ in range(notifications.MAX_ATTEMPTS + 3):
        make_due()
        notifications.run()
    assert (sent(api)[0]["status"], len(there.received)) == ("failed", notifications.MAX_ATTEMPTS)
    pauses = [notifications.pause_sec(n, 0.99) for n in range(1, 10)]
    assert pauses == sorted(pauses) and pauses[0] < 5.1 and pauses[-1] <= 300


def test_one_that_is_down_does_not_hold_up_the_others(api: Api, there: Receiver) -> None:
    down = {"type": "webhook", "url": f"http://127.0.0.1:{free_port()}/"}
    alert(api, down, {"type": "webhook", "url": there.url}, down)
    api.post("/alerts/fails/test")
    notifications.run()
    assert sorted(one["status"] for one in sent(api)) == ["delivered", "pending", "pending"]


def test_an_address_that_may_not_be_reached_any_more(
    api: Api, there: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    alert(api, {"type": "webhook", "url": there.url})
    api.post("/alerts/fails/test")
    monkeypatch.setenv("NIMBUS_OUTGOING_ALLOW", "")
    config.cache_clear()
    notifications.run()
    assert there.received == [] and sent(api)[0]["status"] == "failed"
    assert "not a public address" in sent(api)[0]["error"]


def test_a_channel_that_was_removed_hears_nothing(api: Api, there: Receiver) -> None:
    alert(api, {"type": "webhook", "url": there.url})
    api.post("/alerts/fails/test")
    api.put("/alerts/fails", {"channels": []})
    notifications.run()
    assert there.received == [] and sent(api)[0]["status"] == "failed"


def test_many_workers_send_once(api: Api, there: Receiver) -> None:
    alert(api, *[{"type": "webhook", "url": f"{there.url}/{n}"} for n in range(8)])
    api.post("/alerts/fails/test")

    def work(_: int) -> None:
        while batch := notifications._take(timezone.now()):
            notifications._send_all(batch)

    assert in_threads(5, work) == [None] * 5
    assert sorted(got.path for got in there.received) == [f"/{n}" for n in range(8)]
    assert {one["status"] for one in sent(api)} == {"delivered"}


def test_no_address_is_logged(api: Api, there: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    import logging

    alert(api, {"type": "webhook", "url": f"{there.url}/SECRET-PATH"})
    api.post("/alerts/fails/test")
    there.answers = [500]
    with caplog.at_level(logging.INFO, logger="nimbus"):
        notifications.run()
    ours = [record for record in caplog.records if record.name.startswith("nimbus")]
    assert ours and "SECRET-PATH" not in str([record.__dict__ for record in ours])
    assert not logging.getLogger("httpx").isEnabledFor(logging.INFO)
