"""docs/async.md does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance import documents
from tests.platform import Platform
from tests.services import wait_until

pytestmark = pytest.mark.timeout(180)


def test_the_commands_of_the_document(platform: Platform, tmp_path: Path) -> None:
    said = documents.run("async.md", platform, tmp_path)
    assert '"reason":"retries_exhausted"' in said and '"by_reason"' in said
    path = "/api/v1/functions/async-notify/invocations?status=success"
    wait_until(lambda: platform.client.get(path).json()["total"] == 1, 30, "the report to be run")
    (row,) = platform.client.get(path).json()["invocations"]
    assert (row["output"], row["input"]["requestPayload"]) == ("Success", {"id": 9})
