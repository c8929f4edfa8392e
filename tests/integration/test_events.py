"""Publishing and reading events, through the entrance."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from nimbus_project.config import config
from nimbus_project.core import redis
from tests.integration.accounts import As, make_key
from tests.integration.plane import Api, in_threads, refusal
from triggers import bus, cloudevents, hot_events
from triggers.models import Event

PAID: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order.paid", "data": {"amount": 5}}
STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
JSON = {"content-type": "application/json"}
BINARY = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/shop", "ce-type": "order.paid"}


def publish(api: Any, *events: dict[str, Any], **more: Any) -> Any:
    """One structured, several as a batch."""
    if len(events) == 1:
        return api("POST", "/events", content=orjson.dumps(events[0]), headers=STRUCTURED, **more)
    return api("POST", "/events", content=orjson.dumps(events), headers=BATCH, **more)


def wake_ups() -> int:
    """Messages that tell workers to fan out."""
    sent = redis.connection().lrange("sync", 0, -1)
    return sum(orjson.loads(one)["headers"]["task"] == "nimbus.fan_out" for one in sent)


def test_structured(api: Api) -> None:
    answer = publish(api, PAID)
    assert answer.status_code == 202, answer.text
    body = answer.json()
    (shown,) = body["events"]
    assert (shown["event_id"], shown["source"], shown["duplicate"]) == ("1", "/shop", False)
    assert (body["accepted"], body["duplicates"], body["request_id"]) == (1, 0, answer.headers["x-request-id"])
    stored = Event.objects.get()
    assert str(stored.pk) == shown["id"] and stored.fanned_out_at is None
    assert orjson.loads(bytes(stored.body)) == PAID
    assert wake_ups() == 1


def test_how_far_along_a_chain_it_says_it_is(api: Api) -> None:
    """An extension attribute: a chain that goes round by way of another program comes to an end."""
    publish(api, PAID | {"id": "1", "nimbushops": 3}, PAID | {"id": "2", "nimbushops": bus.MAX_HOPS + 1})
    content = orjson.dumps({"amount": 5})
    api("POST", "/events", content=content, headers=BINARY | JSON | {"ce-id": "3", "ce-nimbushops": "4"})
    publish(api, PAID | {"id": "4", "nimbushops": -1})
    stored = {event.event_id: event for event in Event.objects.all()}
    assert {name: event.hops for name, event in stored.items()} == {"1": 3, "2": bus.MAX_HOPS + 1, "3": 4, "4": 0}
    assert [name for name, event in stored.items() if "going round" in event.error] == ["2"]
    assert orjson.loads(bytes(stored["1"].body))["nimbushops"] == 3


@pytest.mark.parametrize(
    ("content_type", "body", "data"),
    [
        ("application/json", b'{"amount": 5}', {"data": {"amount": 5}}),
        ("text/plain", "grüße".encode(), {"data": "grüße"}),
        ("application/x-www-form-urlencoded", b"a=b&c=d", {"data_base64": base64.b64encode(b"a=b&c=d").decode()}),
        ("multipart/form-data; boundary=x", b"\x00\xff", {"data_base64": "AP8="}),
        ("application/json", b"", {}),
    ],
)
def test_binary(api: Api, content_type: str, body: bytes, data: dict[str, Any]) -> None:
    answer = api("POST", "/events", content=body, headers=BINARY | {"content-type": content_type})
    assert answer.status_code == 202, answer.text
    shown = api.get(f"/events/{answer.json()['events'][0]['id']}").json()["event"]
    assert shown == {k[3:]: v for k, v in BINARY.items()} | {"datacontenttype": content_type} | data


def test_binary_without_content_type_and_body(api: Api) -> None:
    answer = api("POST", "/events", headers=BINARY | {"ce-subject": "Euro%20%E2%82%AC"})
    assert answer.status_code == 202, answer.text
    shown = api.get(f"/events/{answer.json()['events'][0]['id']}").json()
    assert shown["event"]["subject"] == "Euro €" and "data" not in shown["event"]


def test_a_batch(api: Api) -> None:
    answer = publish(api, PAID, PAID | {"id": "2"}, PAID | {"id": "2", "data": 0}, PAID | {"id": "3", "source": "/b"})
    body = answer.json()
    assert [one["duplicate"] for one in body["events"]] == [False, False, True, False]
    assert (body["accepted"], body["duplicates"]) == (3, 1)
    assert body["events"][1]["id"] == body["events"][2]["id"]
    assert Event.objects.count() == 3 and wake_ups() == 1
    assert orjson.loads(bytes(Event.objects.get(event_id="2").body))["data"] == {"amount": 5}, "the first counts"


def test_an_empty_batch_is_one(api: Api) -> None:
    answer = api("POST", "/events", content=b"[]", headers=BATCH)
    assert (answer.status_code, answer.json()["events"]) == (202, [])
    assert wake_ups() == 0


def test_what_was_accepted_before_is_a_duplicate(api: Api) -> None:
    first = publish(api, PAID).json()["events"][0]
    again = publish(api, PAID | {"data": "other"}).json()["events"][0]
    assert (again["duplicate"], again["id"]) == (True, first["id"])
    assert Event.objects.count() == 1


def test_the_same_event_from_many_at_once_is_accepted_once(api: Api) -> None:
    """Batches in opposite orders: they must not wait for each other either."""
    events = [PAID | {"id": str(n)} for n in range(40)]
    answers = in_threads(6, lambda n: publish(api, *(events if n % 2 else events[::-1])))
    assert [getattr(one, "status_code", one) for one in answers] == [202] * 6
    assert sum(one.json()["accepted"] for one in answers) == 40  # type: ignore[union-attr]
    assert Event.objects.count() == 40


@pytest.mark.parametrize(
    ("headers", "body", "status", "code", "fields"),
    [
        ({"content-type": "application/json"}, b"{}", 400, "invalid_cloudevent",
         {"ce-id", "ce-source", "ce-specversion", "ce-type"}),
        (STRUCTURED, b"{", 400, "invalid_cloudevent", {"body"}),
        (STRUCTURED, b'{"id": 5}', 400, "invalid_cloudevent", {"id", "source", "specversion", "type"}),
        (BATCH, orjson.dumps([PAID, PAID | {"time": "noon"}]), 400, "invalid_cloudevent", {"1.time"}),
        (STRUCTURED, orjson.dumps(PAID | {"type": "nimbus.invocation.failed"}), 400, "invalid_cloudevent", {"type"}),
        (STRUCTURED, orjson.dumps(PAID | {"type": "Nimbus.x"}), 400, "invalid_cloudevent", {"type"}),
        (BATCH, orjson.dumps([PAID, PAID | {"type": "nimbus.x"}]), 400, "invalid_cloudevent", {"1.type"}),
        ({"content-type": "application/cloudevents+avro"}, b"x", 415, "unsupported_media_type", set()),
        (BINARY | {"ce-subject": "%C0%A0"}, b"", 400, "invalid_cloudevent", {"ce-subject"}),
    ],
)  # fmt: skip
def test_what_is_no_event_stores_nothing(
    api: Api, headers: dict[str, str], body: bytes, status: int, code: str, fields: set[str]
) -> None:
    told = refusal(api("POST", "/events", content=body, headers=headers), status, code)
    assert set(told.get("details", {})) == fields
    assert not Event.objects.exists() and wake_ups() == 0


def test_a_header_that_is_there_twice(api: Api) -> None:
    headers = [*BINARY.items(), ("ce-id", "2")]
    assert set(refusal(api("POST", "/events", headers=headers), 400)["details"]) == {"ce-id"}


def test_bounds(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal(publish(api, PAID | {"data": "x" * config().max_event_bytes}), 413, "too_large")
    many = [PAID | {"id": str(n)} for n in range(bus.MAX_BATCH + 1)]
    assert "batch" in refusal(publish(api, *many), 400)["error"]
    assert publish(api, *many[: bus.MAX_BATCH]).json()["accepted"] == bus.MAX_BATCH
    long = PAID | {"id": "x" * 20_000, "source": "/" + "s" * 20_000, "type": "t" * 20_000}
    answer = publish(api, long)
    assert answer.status_code == 202, answer.text
    assert api.get("/events", params={"type": "t" * 20_000}).json()["total"] == 1
    assert api.get("/events", params={"type": "t" * 19_999}).json()["total"] == 0


def test_lists(api: Api) -> None:
    for number in range(5):
        publish(api, PAID | {"id": str(number), "type": f"t{number % 2}", "subject": "s"})
    listed = api.get("/events").json()
    assert [one["event_id"] for one in listed["events"]] == ["4", "3", "2", "1", "0"]
    assert (listed["total"], listed["offset"], listed["limit"]) == (5, 0, 20)
    one = listed["events"][0]
    assert (one["type"], one["subject"], one["status"]) == ("t0", "s", "waiting") and one["size_bytes"] > 50
    assert "event" not in one and "error" not in one
    assert api.get("/events?type=t1").json()["total"] == 2
    assert api.get("/events?source=/shop").json()["total"] == 5
    assert api.get("/events?source=/sho").json()["total"] == 0
    page = api.get("/events?limit=2").json()
    rest = api.get("/events", params={"limit": 3, "cursor": page["next_cursor"]}).json()
    assert [one["event_id"] for one in page["events"] + rest["events"]] == ["4", "3", "2", "1", "0"]
    assert "next_cursor" not in rest
    Event.objects.filter(event_id="0").update(accepted_at=F("accepted_at") - timedelta(days=1))
    moment = (timezone.now() - timedelta(hours=1)).isoformat()
    assert api.get("/events", params={"after": moment}).json()["total"] == 4
    assert api.get("/events", params={"before": moment}).json()["total"] == 1
    for query in ("before=noon", "cursor=x", "limit=-1", "type=%00"):
        refusal(api.get(f"/events?{query}"), 400)


def test_one(api: Api) -> None:
    made = publish(api, PAID).json()["events"][0]["id"]
    shown = api.get(f"/events/{made}/").json()
    assert shown["event"] == PAID and shown["deliveries"] == [] and shown["hops"] == 0
    for reference in ("nothing", "0192f0c1-7c1e-7d5a-9f3b-0a1b2c3d4e5f", "%00"):
        refusal(api.get(f"/events/{reference}"), 404, "event_not_found")


def test_each_sees_what_it_published_and_what_is_everybodys(locked_entrance: Api) -> None:
    ann, ben, root, caller = (
        As(locked_entrance, make_key(*who))
        for who in (("ann", "developer"), ("ben", "developer"), ("root", "admin"), ("cal", "invoker"))
    )
    mine = publish(ann, PAID).json()["events"][0]["id"]
    theirs = publish(ben, PAID).json()["events"][0]
    assert theirs["duplicate"] is False, "ids are each owner's own"
    publish(caller, PAID)
    bus.publish([cloudevents.from_json(PAID)], None)
    assert [who.get("/events").json().get("total") for who in (ann, ben, root, caller)] == [2, 2, 4, None]
    refusal(ann.get(f"/events/{theirs['id']}"), 404, "event_not_found")
    assert ann.get(f"/events/{mine}").status_code == root.get(f"/events/{mine}").status_code == 200
    viewer = As(locked_entrance, make_key("vic", "viewer"))
    refusal(publish(viewer, PAID), 403)
    assert viewer.get("/events").json()["total"] == 1


def test_the_database_away_accepts_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def away(*args: object, **more: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(Event, "save", away)
    monkeypatch.setattr(Event.objects, "bulk_create", away)
    for events in ([PAID], [PAID, PAID | {"id": "2"}]):
        refusal(publish(api, *events), 503, "unavailable")
    monkeypatch.undo()
    assert publish(api, PAID).json()["accepted"] == 1


def test_redis_away_loses_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from nimbus_project.core import queue
    from nimbus_project.core.errors import Unavailable

    def away(*args: object) -> None:
        raise Unavailable("away")

    monkeypatch.setattr(queue, "send", away)
    assert publish(api, PAID).status_code == 202
    assert Event.objects.count() == 1


def test_one_that_is_known_spoils_nothing_of_its_transaction(api: Api) -> None:
    first = publish(api, PAID).json()["events"][0]["id"]
    with transaction.atomic():
        again = bus.publish([cloudevents.from_json(PAID)], None)
        assert [(str(one.id), one.is_duplicate) for one in again] == [(first, True)]
        bus.publish([cloudevents.from_json(PAID | {"id": "2"})], None)
    assert Event.objects.count() == 2


def test_one_event_costs_one_statement(api: Api) -> None:
    with CaptureQueriesContext(connection) as asked:
        bus.publish([cloudevents.from_json(PAID)], None)
    assert len(asked) == 1, [one["sql"][:80] for one in asked]


def test_a_long_one_is_the_same(api: Api) -> None:
    """Decoded on a thread."""
    long = PAID | {"data": "x" * (hot_events.IN_PLACE_BYTES + 1)}
    made = publish(api, long).json()["events"][0]["id"]
    assert api.get(f"/events/{made}").json()["event"] == long
    refusal(publish(api, long | {"specversion": "2"}), 400, "invalid_cloudevent")


@pytest.mark.parametrize("events", [[PAID], [PAID, PAID | {"id": "2"}], [{}]])
def test_the_view_behind_the_entrance_says_the_same(
    api: Api, monkeypatch: pytest.MonkeyPatch, events: list[dict[str, Any]]
) -> None:
    from nimbus_project import asgi

    def said() -> tuple[int, dict[str, Any]]:
        Event.objects.all().delete()
        answer = publish(api, *events)
        told = answer.json()
        ids = {"request_id": "", "events": [one | {"id": ""} for one in told.get("events", [])]}
        return answer.status_code, told | ids

    hot = said()
    monkeypatch.setattr(asgi, "HOT_ROUTES", ())
    assert said() == hot
