"""docs/managing.md does what it says: its commands run, one after the other, on a real platform."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance import documents
from tests.platform import Platform

pytestmark = pytest.mark.timeout(180)


def test_its_commands_run(platform: Platform, tmp_path: Path) -> None:
    said = documents.run("managing.md", platform, tmp_path)
    assert "\n400\n" in said
    assert (tmp_path / "functions.zip").stat().st_size > 500
    assert "function.update" in (tmp_path / "audit.csv").read_text()
    assert platform.client.get("/api/v1/functions/price").status_code == 404
