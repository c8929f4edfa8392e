"""docs/triggers/events.md and docs/alerts.md do what they say, on a real platform; its beat looks at alerts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance import documents
from tests.platform import Platform
from tests.services import wait_until

pytestmark = pytest.mark.timeout(180)


def test_the_calls_about_events_run(platform: Platform, tmp_path: Path) -> None:
    said = documents.run("triggers/events.md", platform, tmp_path)
    assert '"duplicates":1' in said and '"matched":false' in said and "\n400\n" in said
    runs = platform.client.get("/api/v1/invocations?trigger_type=event").json()["invocations"]
    assert [run["input"] for run in runs] == [{"order": 1001, "note": "Paid: 120.5 at /shop"}] * 2


def test_the_calls_about_alerts_run(platform: Platform, tmp_path: Path) -> None:
    said = documents.run("alerts.md", platform, tmp_path)
    assert "https://hooks.slack.com/…" in said and "XXXX" not in said


def test_beat_looks_at_alerts(platform: Platform) -> None:
    platform.client.post("/api/v1/alerts", json={"name": "seen", "kind": "queue_age_sec", "threshold": 60})
    wait_until(lambda: "evaluated_at" in platform.client.get("/api/v1/alerts/seen").json(), 90, "a look at the alert")
