"""docs/triggers/schedules.md and docs/retention.md do what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance import documents
from tests.platform import Platform

pytestmark = pytest.mark.timeout(180)


def test_schedules(platform: Platform, tmp_path: Path) -> None:
    said = documents.run("triggers/schedules.md", platform, tmp_path)
    assert '"status":"fired"' in said and "next_fire_times" in said
    (own,) = platform.client.get("/api/v1/schedules").json()["schedules"]
    assert (own["own"], own["cron_expression"], own["cron_timezone"]) == (True, "0 9 * * MON-FRI", "Europe/Berlin")


def test_retention(platform: Platform, tmp_path: Path) -> None:
    said = documents.run("retention.md", platform, tmp_path)
    assert "would_delete" in said and '"status":"completed"' in said
