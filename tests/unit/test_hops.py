"""What others say of a chain is a small count, whatever they say."""

from __future__ import annotations

import pytest

from invocations.hops import told


@pytest.mark.parametrize(
    ("value", "hops"),
    [
        ("3", 3),
        (3, 3),
        ("0", 0),
        (-1, 0),
        ("-1", 0),
        (None, 0),
        ("", 0),
        ("x", 0),
        ("²", 0),
        ("٣", 0),
        (2.5, 0),
        ([1], 0),
        (10**30, 99),
        ("9" * 100_000, 99),
        ("0001", 1),
    ],
)
def test_told(value: object, hops: int) -> None:
    assert told(value) == hops
