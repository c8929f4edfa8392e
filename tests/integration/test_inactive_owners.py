"""A user who is deactivated, or may call functions no more: whatever of theirs strangers or the clock could start
stops, in every process, and goes on when they are back. Rules and schedules by themselves: test_event_rights.py,
test_firing.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest
from django.utils import timezone

from accounts import directory as known_keys
from functions import services as functions
from invocations.models import Invocation
from nimbus_project.core import redis
from tests.integration.accounts import As, make_key
from tests.integration.plane import BASE, Api, refusal, wait_until
from triggers import firing, routes, webhook_directory
from triggers.models import ScheduleFire

EVERY_SECOND = {"name": "tick", "function": "hers", "cron_expression": "* * * * * *"}


@dataclass
class Scene:
    """What ann has, as seen by strangers."""

    api: Api
    root: As
    webhook: str

    def hooked(self) -> httpx.Response:
        return self.api("POST", self.webhook, content=b"1")

    def routed(self) -> httpx.Response:
        return self.api.get(f"{BASE}/hers/1")

    def put(self, **given: object) -> None:
        answer = self.root("PATCH", "/users/ann", json=given)
        assert answer.status_code == 200, answer.text


@pytest.fixture
def scene(locked_entrance: Api) -> Iterator[Scene]:
    from accounts import services

    root, ann = As(locked_entrance, make_key("root", "admin")), As(locked_entrance, make_key("ann", "developer"))
    ann.create("hers", http_path="/hers/{n}")
    key = ann.post("/functions/hers/webhook/enable").json()["webhook_key"]
    assert ann.post("/schedules", EVERY_SECOND).status_code == 201
    made = Scene(locked_entrance, root, f"{BASE}/webhook/{key}")
    try:
        yield made
    finally:
        services.user_update("ann", active=True, role="developer")


@pytest.mark.parametrize("change", [{"active": False}, {"role": "viewer"}])
def test_strangers_find_nothing(scene: Scene, worker: None, change: dict[str, object]) -> None:
    assert (scene.hooked().status_code, scene.routed().status_code) == (200, 200)
    scene.put(**change)
    unknown = scene.api("POST", f"{BASE}/webhook/nothing", content=b"1")
    said = refusal(scene.hooked(), 404, unknown.json()["code"])
    assert said["error"] == unknown.json()["error"], "as if the key were unknown"
    refusal(scene.routed(), 404, "not_found")
    scene.put(active=True, role="developer")
    assert (scene.hooked().status_code, scene.routed().status_code) == (200, 200)


def test_a_webhook_that_queues_takes_nothing(scene: Scene) -> None:
    assert scene.root("PUT", "/functions/hers/webhook", json={"mode": "async"}).status_code == 200
    assert scene.hooked().status_code == 202
    scene.put(active=False)
    refusal(scene.hooked(), 404, "webhook_not_found")
    assert Invocation.objects.count() == 1


def test_schedules_pass_their_times_by_and_say_why(scene: Scene) -> None:
    scene.put(active=False)
    firing.tick(timezone.now() + timedelta(seconds=2))
    shown = scene.root.get("/schedules").json()["schedules"][0]
    fires = scene.root.get(f"/schedules/{shown['id']}/history").json()["history"]
    assert {fire["status"] for fire in fires} == {"refused"}
    assert "owner" in fires[0]["reason"]
    assert not Invocation.objects.exists() and ScheduleFire.objects.exists()


def test_another_process_hears_of_it(scene: Scene, worker: None) -> None:
    """By the message alone, as if another process had changed the user."""
    from accounts.selectors import user_get

    assert (scene.hooked().status_code, scene.routed().status_code) == (200, 200)
    ann = user_get("ann")
    ann.is_active = False
    ann.save()
    redis.publish(redis.KEYS, f"user:{ann.pk}")
    wait_until(lambda: scene.hooked().status_code == 404, "the webhook to be closed", within_sec=2.0)
    wait_until(lambda: scene.routed().status_code == 404, "the route to be closed", within_sec=2.0)


def test_a_call_asks_the_database_for_no_owner(scene: Scene, worker: None) -> None:
    """It is in memory, and stays there when another user changes."""
    assert (scene.hooked().status_code, scene.routed().status_code) == (200, 200)
    table = routes.known()
    assert table is not None
    known_keys.forget("some-prefix")
    assert routes.known() is table
    assert len(webhook_directory._entries) == 1
    known_keys.forget("user:0")
    assert len(webhook_directory._entries) == 1


def test_an_address_goes_to_nobody_else(scene: Scene, worker: None) -> None:
    """A wider route of another owner does not get what was meant for the closed one; a new owner opens it again."""
    from accounts.selectors import user_get

    bob = As(scene.api, make_key("bob", "developer"))
    bob.create("wider", http_path="/{any}/{n}")
    scene.put(active=False)
    refusal(scene.routed(), 404, "not_found")
    functions.function_give("hers", user_get("bob").pk)
    assert scene.routed().status_code == 200
