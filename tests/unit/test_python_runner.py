"""Pure parts of the Python runner: how a result becomes JSON text."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.runtimes.python.runner import Fault, encode_by_parts, encode_result, least_bytes

LIMIT = 1_000_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


@given(JSON)
def test_result_round_trip(value: Any) -> None:
    assert json.loads(encode_result(value, LIMIT)) == value


@given(st.lists(JSON, max_size=8), st.integers(1, 100))
def test_parts_make_the_same_text(values: list[Any], copies: int) -> None:
    for result in (values * copies, {str(n): value for n, value in enumerate(values * copies)}, {"in": [values]}):
        whole = json.dumps(result, ensure_ascii=False, separators=(",", ":"))
        assert encode_by_parts(result, len(whole)) == whole


@given(JSON)
def test_least_bytes_is_a_lower_bound(value: Any) -> None:
    assert least_bytes(value, LIMIT)[0] <= len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def test_not_all_was_seen() -> None:
    assert least_bytes([0] * 50, LIMIT)[1]
    assert not least_bytes([0] * 1000, LIMIT)[1]


def test_a_hopeless_result_is_given_up_early() -> None:
    result = {"rows": [[0] * 1000] * 100_000}
    tracemalloc.start()
    try:
        with pytest.raises(Fault, match="larger than") as caught:
            encode_result(result, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 20 * LIMIT
    finally:
        tracemalloc.stop()
    assert caught.value.error_type == "ResultTooLarge"


@pytest.mark.parametrize("many", [1, 1000])
@pytest.mark.parametrize("bad", [{1}, b"x", math.nan, math.inf, object(), {(1,): 2}])
def test_not_json(bad: Any, many: int) -> None:
    with pytest.raises(Fault) as caught:
        encode_result([0] * many + [bad], LIMIT)
    assert caught.value.error_type == "ResultNotJson"


def test_circular() -> None:
    loop: list[Any] = [0] * 1000
    loop.append(loop)
    with pytest.raises(Fault, match="contains itself"):
        encode_result({"a": [loop]}, LIMIT)
