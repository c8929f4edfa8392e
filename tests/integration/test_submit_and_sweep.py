"""The one door to a durable run, and the sweeper that sees to it that the row is the outbox."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from django.db import transaction
from django.utils import timezone

from functions import directory, services
from invocations import idempotency, lifecycle
from invocations.models import IdempotencyKey, Invocation
from invocations.services import NewInvocation, submit
from nimbus_project.core import queue, redis
from nimbus_project.core.errors import FunctionNotActive, InvalidRequest, Unavailable
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
    assert messages() == [(Task.RUN_INVOCATION, [str(row.pk)])]


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
    def away(*args: object) -> None:
        raise Unavailable("away")

    make_function()
    with monkeypatch.context() as patch:
        patch.setattr(queue, "send", away)
        row = submit(new())
    assert Invocation.objects.get().status == "pending"
    assert messages() == []
    Invocation.objects.update(sent_at=timezone.now() - timedelta(seconds=reaper.RESEND_EMPTY_SEC + 1))
    reaper.sweep()
    assert messages() == [(Task.RUN_INVOCATION, [str(row.pk)])]


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


def sent(row: Invocation) -> bool:
    return (Task.RUN_INVOCATION, [str(row.pk)]) in messages()


def aged(seconds: float, **values: Any) -> Invocation:
    row: Invocation = make_row(timezone.now() - timedelta(seconds=seconds), **values)
    return row


def test_lost_messages_are_sent_again_once_they_are_old() -> None:
    lost, fresh = aged(reaper.RESEND_EMPTY_SEC + 1), aged(1)
    reaper.sweep()
    assert (sent(lost), sent(fresh)) == (True, False)
    reaper.sweep()
    assert len(messages()) == 1, "it was sent a moment ago"


def test_while_messages_wait_theirs_may_be_among_them() -> None:
    redis.connection().lpush("async", b"{}")
    row, older = aged(reaper.RESEND_EMPTY_SEC + 1), aged(reaper.RESEND_FULL_SEC + 1)
    reaper.sweep()
    redis.connection().lrem("async", 1, "{}")
    assert (sent(row), sent(older)) == (False, True)


def test_what_was_delayed_is_sent_when_its_time_has_come() -> None:
    due, later = aged(60, delay_sec=30), aged(60, delay_sec=90)
    reaper.sweep()
    assert (sent(due), sent(later)) == (True, False)


def test_what_a_dead_worker_held_is_sent_again_at_once() -> None:
    row = aged(20)
    assert lifecycle.claim(row, "dead", timezone.now() - timedelta(seconds=15), lease_sec=10)
    reaper.sweep()
    assert sent(row)
    assert Invocation.objects.get().attempts[0]["worker_id"] == "dead"


def test_a_full_queue_is_not_made_fuller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaper, "SEND_AT_ONCE", 3)
    for _ in range(5):
        aged(reaper.RESEND_FULL_SEC + 1)
    reaper.sweep()
    assert len(messages()) == 3
    reaper.sweep()
    assert len(messages()) == 3


def test_keys_past_their_day_are_forgotten() -> None:
    old = datetime.now(UTC) - timedelta(hours=25)
    idempotency.claim(str(new_id()), "k", b"{}", new_id(), old)
    reaper.sweep()
    assert not IdempotencyKey.objects.exists()
