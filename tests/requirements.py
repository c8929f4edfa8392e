"""What a test needs of the machine: skip without it, or fail where it was promised."""

from __future__ import annotations

import os

import pytest

ENV = "NIMBUS_TEST_REQUIRE"
"""Words, separated by commas: what this run must have."""


def require(what: str, missing: str | None) -> None:
    """Go on when `missing` is None; else skip the test with that reason, or fail when `what` is promised in ENV."""
    if missing is None:
        return
    promised = {word.strip() for word in os.environ.get(ENV, "").split(",")}
    if what in promised:
        pytest.fail(f"{what} is required by {ENV}, but: {missing}")
    pytest.skip(f"{what}: {missing}")
