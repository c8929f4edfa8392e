"""With whose rights an event is seen, calls its targets, and is replayed."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from accounts.principal import EMBEDDED, acting_as
from tests.integration.accounts import As, make_key
from tests.integration.bus import event, fired, on_paid, people, publish, rule, user_id
from tests.integration.plane import make_function, refusal
from triggers import fan_out
from triggers.models import Event, EventDelivery

__all__ = ["people"]

pytestmark = pytest.mark.usefixtures("transactional_db")


def test_a_rule_sees_its_owners_events_and_everybodys(people: dict[str, As]) -> None:
    for name in ("ann", "ben"):
        on_paid(people[name], f"of-{name}")
    publish(owner_id=user_id("ann"))
    fan_out.run()
    assert fired() == ["of-ann"]
    publish(owner_id=None)
    fan_out.run()
    assert fired() == ["of-ann", "of-ann", "of-ben"]
    publish(event(id="s"), owner_id=user_id("ben"), shared=True)
    fan_out.run()
    assert fired() == ["of-ann"] * 3 + ["of-ben"] * 2


def test_an_administrators_rule_sees_all_and_its_events_are_its_own(people: dict[str, As]) -> None:
    on_paid(people["root"], "of-ann")
    on_paid(people["ben"], "of-ben")
    publish(owner_id=user_id("ben"))
    publish(owner_id=user_id("root"))
    fan_out.run()
    assert fired() == ["of-ann", "of-ann", "of-ben"]


def test_a_rule_of_nobody_does_no_more_than_what_is_everybodys(people: dict[str, As]) -> None:
    with acting_as(EMBEDDED):
        make_function("nobodys")
        rule(targets=[{"function": "nobodys"}])
        with pytest.raises(Exception, match="no function"):
            rule("too-much", targets=[{"function": "of-ann"}])
    publish(owner_id=user_id("ann"))
    publish(owner_id=None)
    fan_out.run()
    assert fired() == ["nobodys"]


def test_a_developers_key_of_an_administrator_makes_no_administrators_rule(people: dict[str, As]) -> None:
    from accounts.selectors import user_get
    from accounts.services import api_key_create

    lesser = As(people["root"].api, api_key_create(user_get("root"), name="lesser", role="developer")[1])
    lesser.create("of-root")
    on_paid(lesser, "of-root", "lesser")
    publish(owner_id=user_id("ann"))
    fan_out.run()
    assert fired() == []
    publish(owner_id=user_id("root"))
    fan_out.run()
    assert fired() == ["of-root"]


@pytest.mark.parametrize(
    ("change", "statuses"),
    [({"role": "viewer"}, ["failed"]), ({"active": False}, [])],
)
def test_an_owner_who_may_call_no_more(people: dict[str, As], change: dict[str, Any], statuses: list[str]) -> None:
    name = f"was-{secrets.token_hex(4)}"
    former = As(people["root"].api, make_key(name, "developer"))
    former.create("of-former")
    on_paid(former, "of-former")
    assert people["root"]("PATCH", f"/users/{name}", json=change).status_code == 200
    publish(owner_id=user_id(name))
    fan_out.run()
    assert fired() == []
    assert list(EventDelivery.objects.values_list("status", flat=True)) == statuses


def test_a_function_that_is_shared_no_more(people: dict[str, As]) -> None:
    assert people["ann"]("PATCH", "/functions/of-ann", json={"shared": True}).status_code == 200
    on_paid(people["ben"], "of-ann")
    publish(owner_id=user_id("ben"))
    fan_out.run()
    assert fired() == ["of-ann"]
    assert people["ann"]("PATCH", "/functions/of-ann", json={"shared": False}).status_code == 200
    publish(event(id="2"), owner_id=user_id("ben"))
    fan_out.run()
    assert fired() == ["of-ann"]
    shown = people["ben"].get(f"/events/{Event.objects.get(event_id='2').pk}").json()["deliveries"]
    assert [one["status"] for one in shown] == ["failed"]


def test_deliveries_are_shown_to_who_owns_the_rule(people: dict[str, As]) -> None:
    on_paid(people["ann"], "of-ann")
    on_paid(people["ben"], "of-ben")
    stored = publish(owner_id=None)
    fan_out.run()
    for name, functions_seen in (("ann", ["of-ann"]), ("ben", ["of-ben"]), ("root", ["of-ann", "of-ben"])):
        shown = people[name].get(f"/events/{stored.pk}").json()
        assert sorted(one["function"] for one in shown["deliveries"]) == functions_seen
        assert shown["status"] == "fanned_out"


def test_a_replay_has_the_rights_of_who_asked(people: dict[str, As]) -> None:
    publish(owner_id=user_id("ann"))
    publish(event(id="2"), owner_id=user_id("ben"))
    fan_out.run()
    for name in ("ann", "ben"):
        on_paid(people[name], f"of-{name}")
    asked = {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
    made = people["ann"].post("/events/replay", asked).json()
    fan_out.run()
    assert fired() == ["of-ann"]
    refusal(people["ben"].get(f"/events/replay/{made['id']}"), 404, "event_replay_not_found")
    people["root"].post("/events/replay", asked)
    fan_out.run()
    assert fired() == ["of-ann", "of-ann", "of-ben"]
