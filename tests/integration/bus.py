"""Events, rules and the people who own them: tools of the tests of the event bus."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from invocations.models import Invocation
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, make_function
from triggers import bus, cloudevents
from triggers.models import Event, EventRule

PAID: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.paid", "data": {"amount": 5}}


def event(**changes: Any) -> cloudevents.CloudEvent:
    return cloudevents.from_json(PAID | changes)


def publish(*events: cloudevents.CloudEvent, owner_id: int | None = None, **more: Any) -> Event:
    accepted = bus.publish(events or [event()], owner_id, **more)
    return Event.objects.get(pk=accepted[0].id)


def rule(name: str = "on-paid", **changes: Any) -> EventRule:
    from triggers.event_rules import rule_create

    given: dict[str, Any] = {"pattern": {"type": ["order.paid"]}, "targets": [{"function": "hello"}]}
    return rule_create(name=name, **given | changes)


@pytest.fixture
def hello() -> Any:
    return make_function()


def inputs() -> list[Any]:
    rows = Invocation.objects.filter(trigger_type="event").order_by("created_at")
    return [orjson.loads(bytes(row.input)) for row in rows]


def amounts() -> list[int]:
    return sorted(one["data"]["amount"] for one in inputs())


@pytest.fixture
def people(locked_entrance: Api) -> dict[str, As]:
    roles = {"ann": "developer", "ben": "developer", "root": "admin"}
    named = {name: As(locked_entrance, make_key(name, role)) for name, role in roles.items()}
    for name in ("ann", "ben"):
        named[name].create(f"of-{name}")
    return named


def user_id(name: str) -> int:
    from accounts.selectors import user_get

    return int(user_get(name).pk)


def on_paid(who: As, function: str, name: str = "on-paid") -> dict[str, Any]:
    answer = who.post(
        "/event-rules", {"name": name, "pattern": {"type": ["order.paid"]}, "targets": [{"function": function}]}
    )
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def fired() -> list[str]:
    return sorted(Invocation.objects.values_list("function_name", flat=True))
