"""The archive of events: ranges are replayed once, whoever dies; what is old and done goes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from functions import services as functions
from tests.integration.bus import amounts, event, hello, publish, rule
from tests.integration.plane import Api, in_threads, refusal
from triggers import event_deliveries, event_replays, fan_out
from triggers.models import Event, EventDelivery, EventReplay

__all__ = ["hello"]

pytestmark = pytest.mark.usefixtures("transactional_db")


@pytest.fixture
def archive(hello: Any) -> list[Event]:
    """Ten events, one a minute, the last a minute ago; nobody was listening."""
    now = timezone.now()
    events = [publish(event(id=str(n), data={"amount": n})) for n in range(10)]
    fan_out.run()
    for number, one in enumerate(events):
        one.accepted_at = now - timedelta(minutes=10 - number)
        one.save(update_fields=["accepted_at"])
    assert not EventDelivery.objects.exists()
    return events


def test_a_range_is_replayed_to_the_rules_that_fit(archive: list[Event], api: Api) -> None:
    rule(pattern={"data": {"amount": [{"numeric": ["<", 6]}]}})
    rule("off", enabled=False)
    asked = {"from": archive[2].accepted_at.isoformat(), "to": archive[8].accepted_at.isoformat()}
    answer = api.post("/events/replay", asked)
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert (made["status"], made["events"]) == ("running", 0)
    fan_out.run()
    done = api.get(f"/events/replay/{made['id']}").json()
    assert (done["status"], done["events"], done["deliveries"]) == ("completed", 6, 4)
    assert done["completed_at"] and amounts() == [2, 3, 4, 5], "from is in it, to is not"
    assert {str(row.replay_id) for row in EventDelivery.objects.all()} == {made["id"]}
    shown = api.get(f"/events/{archive[3].pk}").json()["deliveries"]
    assert [one["replay_id"] for one in shown] == [made["id"]]
    api.post("/events/replay", asked)
    fan_out.run()
    assert amounts() == [2, 2, 3, 3, 4, 4, 5, 5], "each replay delivers anew"
    assert api.get("/events/replay").json()["total"] == 2


def test_to_one_rule_only(archive: list[Event], api: Api) -> None:
    rule("one", pattern={"data": {"amount": [1]}})
    rule("other", pattern={"data": {"amount": [2]}})
    asked = {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z", "rule": "one"}
    made = api.post("/events/replay", asked).json()
    assert made["rule"] == "one" and made["to"] < "2100"
    fan_out.run()
    assert amounts() == [1]


def test_replays_that_are_refused(archive: list[Event], api: Api) -> None:
    asked = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    rule("off", enabled=False)
    for changes, status, field in (
        ({"from": "noon"}, 400, "from"),
        ({"from": 5}, 400, "from"),
        ({"to": None}, 400, "to"),
        ({"to": "0001-01-01T00:00:00+14:00"}, 400, "to"),
        ({"to": asked["from"]}, 400, "to"),
        ({"rule": "nothing"}, 404, ""),
        ({"rule": "off"}, 409, ""),
        ({"speed": 5}, 400, "speed"),
    ):
        told = refusal(api.post("/events/replay", asked | changes), status)
        assert set(told.get("details", {})) == ({field} if field else set()), changes
    refusal(api.post("/events/replay", {}), 400)
    refusal(api.get("/events/replay/nothing"), 404, "event_replay_not_found")
    for _ in range(event_replays.MAX_RUNNING):
        assert api.post("/events/replay", asked).status_code == 202
    refusal(api.post("/events/replay", asked), 409, "too_many_replays")


def test_a_worker_that_dies_in_a_replay_loses_and_repeats_nothing(
    archive: list[Event], api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule()
    api.post("/events/replay", {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"})
    real, calls = event_deliveries.submit_all, []

    def dies_in_the_second_batch(asked: Any) -> Any:
        calls.append(asked)
        answers = real(asked)
        if len(calls) == 2:
            raise SystemExit
        return answers

    monkeypatch.setattr(event_replays, "BATCH", 3)
    with monkeypatch.context() as patch:
        patch.setattr(event_deliveries, "submit_all", dies_in_the_second_batch)
        with pytest.raises(SystemExit):
            fan_out.run()
    assert amounts() == [0, 1, 2]
    EventReplay.objects.update(due_at=timezone.now())
    fan_out.run()
    assert amounts() == list(range(10))
    assert EventReplay.objects.get().events == 10


def test_many_workers_replay_once(archive: list[Event], api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    rule()
    api.post("/events/replay", {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"})
    monkeypatch.setattr(event_replays, "LEASE", timedelta(0))
    monkeypatch.setattr(event_replays, "BATCH", 2)

    def work(_: int) -> None:
        while fan_out.waiting(timezone.now()):
            fan_out._step()

    assert in_threads(5, work) == [None] * 5
    assert amounts() == list(range(10))
    assert (EventReplay.objects.get().events, EventReplay.objects.get().deliveries) == (10, 10)


def test_the_archive_loses_what_is_old_and_done(archive: list[Event], api: Api) -> None:
    from triggers.retention import Wanted, prune

    rule()
    functions.function_set_online("hello", online=False)
    api.post("/events/replay", {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"})
    fan_out.run()
    waiting = publish(event(id="waits"))
    EventDelivery.objects.filter(event_id=archive[0].pk).update(status="failed")
    later = timezone.now() + timedelta(days=20)
    gone = prune(Wanted(tables=("events", "event_deliveries", "event_replays")), later, 60, pause=lambda _: None)
    assert gone.deleted == {"events": 10, "event_deliveries": 1, "event_replays": 1}
    assert Event.objects.get() == waiting and EventDelivery.objects.count() == 9
