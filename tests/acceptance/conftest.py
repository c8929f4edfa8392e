"""Users of the platform under test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.caller import Caller
from tests.platform import Platform


@pytest.fixture
def caller(platform: Platform) -> Iterator[Caller]:
    """A client of a platform that is whole again after the test before."""
    platform.wait_ready()
    client = Caller(platform)
    try:
        yield client
    finally:
        client.close()
