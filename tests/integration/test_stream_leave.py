"""A live stream ends when its caller may not have it any more, whatever ended that, in whichever process."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
from django.utils import timezone

from nimbus_project.core import redis
from tests.acceptance.caller import Events
from tests.integration.accounts import As, make_key
from tests.integration.conftest import web_process
from tests.integration.plane import Api, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

PASSWORD = "correct horse battery"


class Stage:
    """Ann's shared function with a waiting invocation; Ben listens at another web process."""

    def __init__(self, api: Api, address: str) -> None:
        self.admin = As(api, make_key("root", "admin"))
        self.ann = As(api, make_key("ann", "developer"))
        self.ben = make_key("ben", "developer")
        self.address = f"{address}/api/v1"
        # Another in each test: the other process goes on, and hears of no table that is emptied.
        self.name = f"hello-{secrets.token_hex(4)}"
        self.function = self.ann.create(self.name, shared=True)
        self.run = self.ann.post(f"/functions/{self.name}/async?delay_sec=3600", {}).json()["invocation_id"]

    def path(self, kind: str) -> str:
        return f"/functions/{self.name}/logs/stream" if kind == "function" else f"/invocations/{self.run}/stream"

    @contextmanager
    def listening(self, kind: str, headers: dict[str, str]) -> Iterator[Events]:
        """While lines come without a pause: a stream must not need one to find out."""
        stop = threading.Event()
        with (
            httpx.Client(base_url=self.address, timeout=60) as client,
            client.stream("GET", self.path(kind), headers=headers) as answer,
        ):
            assert answer.status_code == 200, answer.read()
            talk = threading.Thread(target=self._talk, args=(stop,), daemon=True)
            talk.start()
            events = Events(answer)
            try:
                wait_until(events.messages, "the first line")
                yield events
            finally:
                stop.set()
                talk.join(10)

    def _talk(self, stop: threading.Event) -> None:
        number = 0
        while not stop.wait(0.05):
            line = [1_700_000_000_000, "stdout", f"line {number}"]
            news = orjson.dumps({"id": self.run, "seq": number, "lines": [line]})
            redis.publish(redis.LOGS + self.function["id"], news)
            number += 1


@pytest.fixture(scope="module")
def elsewhere(
    redis_server: Any, django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of another web process, which serves all tests here."""
    with (
        django_db_blocker.unblock(),
        web_process(tmp_path_factory.mktemp("web"), NIMBUS_REQUIRE_KEYS="true") as address,
    ):
        yield address


@pytest.fixture
def stage(locked_entrance: Api, elsewhere: str) -> Stage:
    return Stage(locked_entrance, elsewhere)


def _refused(events: Events) -> Any:
    wait_until(events.over.is_set, "the end of the stream")
    kind, body = events.received[-1]
    assert kind == "error" and set(body) == {"error", "code", "request_id"}
    assert {kind for kind, _ in events.received[:-1]} == {"log"}
    return body["code"]


def _revoke(stage: Stage) -> None:
    assert stage.admin("DELETE", f"/apikeys/{stage.ben.split('_')[1]}").status_code == 204


def _demote(stage: Stage) -> None:
    assert stage.admin("PATCH", "/users/ben", json={"role": "invoker"}).status_code == 200


def _deactivate(stage: Stage) -> None:
    assert stage.admin("PATCH", "/users/ben", json={"active": False}).status_code == 200


def _unshare(stage: Stage) -> None:
    assert stage.ann("PATCH", f"/functions/{stage.name}", json={"shared": False}).status_code == 200


@pytest.mark.parametrize("kind", ["function", "invocation"])
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (_revoke, {"key_revoked"}),
        (_deactivate, {"key_revoked"}),
        (_demote, {"forbidden"}),
        (_unshare, {"function_not_found", "invocation_not_found"}),
    ],
)
def test_it_ends_when_the_right_to_it_does(
    stage: Stage, kind: str, change: Callable[[Stage], None], code: set[str]
) -> None:
    with stage.listening(kind, {"X-API-Key": stage.ben}) as events:
        change(stage)
        assert _refused(events) in code


@pytest.mark.parametrize("kind", ["function", "invocation"])
def test_it_ends_when_the_key_expires(stage: Stage, kind: str) -> None:
    key = make_key("cid", "viewer", expires_at=timezone.now() + timedelta(seconds=3))
    with stage.listening(kind, {"X-API-Key": key}) as events:
        assert _refused(events) == "key_expired"


def test_it_ends_with_its_function(stage: Stage) -> None:
    with stage.listening("function", {"X-API-Key": stage.ben}) as events:
        assert stage.ann("DELETE", f"/functions/{stage.name}").status_code == 204
        assert _refused(events) == "function_not_found"


def test_it_ends_with_its_session(stage: Stage) -> None:
    from accounts.selectors import user_get
    from accounts.services import user_update

    user_update("ben", password=PASSWORD)
    with httpx.Client(base_url=stage.address) as browser:
        page = browser.get("/../../login").text
        token = page.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        form = {"username": "ben", "password": PASSWORD, "csrfmiddlewaretoken": token}
        assert browser.post("/../../login", data=form).status_code == 302
        cookie = {"Cookie": f"sessionid={browser.cookies['sessionid']}"}
    with stage.listening("function", cookie) as events:
        # A new password ends all sessions.
        user_update(str(user_get("ben").pk), password=f"{PASSWORD} again")
        assert _refused(events) == "session_ended"


def test_who_may_goes_on_listening(stage: Stage) -> None:
    with stage.listening("function", {"X-API-Key": stage.ben}) as events:
        _revoke_another(stage)
        heard = len(events.messages())
        wait_until(lambda: len(events.messages()) > heard + 60, "lines of three more seconds")
        assert not events.over.is_set()


def _revoke_another(stage: Stage) -> None:
    other = make_key("dan", "developer")
    assert stage.admin("DELETE", f"/apikeys/{other.split('_')[1]}").status_code == 204


def test_there_is_a_bound(locked_entrance: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from invocations.live import EventStream

    ann = As(locked_entrance, make_key("ann", "developer"))
    ann.create("hello")
    monkeypatch.setattr("invocations.live.MAX_STREAMS", 0)
    answer = ann.get("/functions/hello/logs/stream")
    assert (answer.status_code, answer.json()["code"]) == (503, "too_many_streams")
    assert EventStream.open_now == 0
