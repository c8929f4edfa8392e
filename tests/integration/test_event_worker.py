"""An event all the way: published, fanned out and run by a real worker, without beat."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.integration.plane import Api, wait_until
from workers import reaper

pytestmark = pytest.mark.usefixtures("worker")

SHOUTS = "def main(event):\n    return event['data']['word'].upper()\n"
FAILS = "def main(event):\n    raise ValueError('no')\n"


def ended(api: Api, event_id: str) -> list[dict[str, Any]]:
    """The invocations of an event's deliveries, once all have ended."""

    def look() -> list[dict[str, Any]]:
        # In beat's place: what is to be tried again is sent by it.
        reaper.sweep()
        deliveries = api.get(f"/events/{event_id}").json()["deliveries"]
        runs = [api.get(f"/invocations/{one['invocation_id']}").json() for one in deliveries]
        return runs if runs and all(run["status"] in ("success", "failed") for run in runs) else []

    return wait_until(look, "the invocations to end", within_sec=60)


def test_an_event_runs_functions(api: Api) -> None:
    api.create("shouts", code=SHOUTS)
    api.create("fails", code=FAILS, max_retries=1)
    targets = [{"function": "shouts"}, {"function": "fails"}]
    made = api.post("/event-rules", {"name": "r", "pattern": {"type": [{"prefix": "say"}]}, "targets": targets})
    assert made.status_code == 201, made.text
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "say.it", "data": {"word": "grüße"}}
    headers = {"content-type": "application/cloudevents+json"}
    answer = api("POST", "/events", content=orjson.dumps(event), headers=headers)
    runs = {run["function_name"]: run for run in ended(api, answer.json()["events"][0]["id"])}
    assert (runs["shouts"]["output"], runs["shouts"]["trigger_type"]) == ("GRÜSSE", "event")
    assert runs["shouts"]["input"] == event
    assert (runs["fails"]["status"], runs["fails"]["retry_count"]) == ("failed", 1)
