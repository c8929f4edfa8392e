"""docs/workflows.md does what it says: its commands run, one after the other, on a real platform."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance import documents
from tests.platform import Platform

pytestmark = pytest.mark.timeout(180)


def test_its_commands_run(platform: Platform, tmp_path: Path) -> None:
    said = documents.run("workflows.md", platform, tmp_path)
    assert '"output":"Thank you for 12."' in said and '"valid":false' in said and '"valid":true' in said
    executions = platform.client.get("/api/v1/executions?workflow=order").json()["executions"]
    assert [one["name"] for one in executions[1:]] == ["order-2", "order-1"] and len(executions) == 3
