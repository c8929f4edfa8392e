"""The one door to a durable run, where the row is the outbox; and the sweeper."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from django.db import transaction
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisConnectionError

from functions import directory, services
from invocations import idempotency, lifecycle
from invocations.models import IdempotencyKey, Invocation
from invocations.services import NewInvocation, submit
from nimbus_project.core import queue, redis
from nimbus_project.core.errors import FunctionNotActive, InvalidRequest
from nimbus_project.core.ids import new_id
from nimbus_project.core.queue import Task
from tests.integration.plane import make_function, make_row
from workers import reaper

pytestmark = pytest.mark.usefixtures("transactional_db")


def new(**more: Any) -> NewInvocation:
    values: dict[str, Any] = {"function": directory.look_up("hello"), "event": b'{"a": 1}', "request_id": "r"}
    return NewInvocation(id=new_id(), **values | more)


def messages(name: str = "async") -> list[tuple[str, list[Any]]]:
    """What waits in a queue: task and arguments, oldest first."""
    found = []
    for raw in reversed(redis.connection().lrange(name, 0, -1)):
        message = orjson.loads(raw)
        args, _, _ = orjson.loads(base64.b64decode(message["body"]))
        found.append((message["headers"]["task"], args))
    return found


# -- submit


def test_accepted_is_a_row_and_then_a_message() -> None:
    made = make_function(max_retries=4, max_event_age_sec=600)
    before = timezone.now()
    row = submit(new(session_key="s"))
    stored = Invocation.objects.get()
    assert (stored.pk, stored.status, stored.function_id, stored.version) == (row.pk, "pending", made.pk, 1)
    assert (bytes(stored.input), stored.session_key, stored.trigger_type) == (b'{"a": 1}', "s", "async")
    assert (stored.max_attempts, stored.attempt, stored.runtime) == (5, 0, "python3.11")
    assert stored.expires_at is not None
    assert 600 <= (stored.expires_at - before).total_seconds() < 610
    assert messages() == [(Task.RUN_INVOCATION, [str(made.pk)])]


def test_one_message_is_enough_until_a_worker_has_it_in_hand() -> None:
    made, other = make_function(), make_function("other")
    for _ in range(3):
        submit(new())
    submit(new(function=directory.look_up("other")))
    assert messages() == [(Task.RUN_INVOCATION, [str(made.pk)]), (Task.RUN_INVOCATION, [str(other.pk)])]
    queue.woken(Task.RUN_INVOCATION, str(made.pk))
    submit(new())
    assert len(messages()) == 3


def test_a_message_that_is_lost_with_its_worker_holds_up_the_next_one_for_a_moment_only() -> None:
    make_function()
    submit(new())
    (key,) = redis.connection().keys(redis.WOKEN + "*")
    assert 0 < redis.connection().pttl(key) <= 1000


def test_what_is_for_later_has_no_message_yet() -> None:
    make_function()
    row = submit(new(delay_sec=60))
    assert messages() == []
    assert row.next_attempt_at is not None
    assert 55 < (row.next_attempt_at - timezone.now()).total_seconds() <= 60


def test_no_message_before_the_commit() -> None:
    make_function()
    with transaction.atomic():
        submit(new())
        assert messages() == []
    assert len(messages()) == 1


def test_a_broker_that_is_away_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        def __call__(self, **_: object) -> None:
            raise RedisConnectionError("away")

    make_function()
    monkeypatch.setattr(queue, "_wake_script", Away)
    submit(new())
    assert Invocation.objects.get().status == "pending"
    assert messages() == []


@pytest.mark.parametrize("delay", [-1.0, 86_400.1, float("nan")])
def test_a_delay_out_of_range_stores_nothing(delay: float) -> None:
    make_function()
    with pytest.raises(InvalidRequest):
        submit(new(delay_sec=delay))
    assert not Invocation.objects.exists()


def test_a_function_that_is_off_takes_nothing() -> None:
    make_function()
    services.function_set_online("hello", online=False)
    with pytest.raises(FunctionNotActive):
        submit(new(idempotency_key="k"))
    assert not Invocation.objects.exists() and not IdempotencyKey.objects.exists()


# -- sweep


def test_what_a_dead_worker_held_is_pending_again_at_once() -> None:
    long_ago = timezone.now() - timedelta(seconds=15)
    row = make_row(long_ago)
    assert lifecycle.claim(row.function_id, "dead", long_ago, lease_sec=10)
    reaper.sweep()
    again = Invocation.objects.get()
    assert (again.status, again.attempts[0]["worker_id"]) == ("pending", "dead")
    assert again.next_attempt_at is not None and again.next_attempt_at <= timezone.now()


def test_keys_past_their_day_are_forgotten() -> None:
    old = datetime.now(UTC) - timedelta(hours=25)
    idempotency.claim(str(new_id()), "k", b"{}", new_id(), old)
    reaper.sweep()
    assert not IdempotencyKey.objects.exists()
